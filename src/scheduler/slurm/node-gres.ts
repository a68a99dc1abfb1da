/** Our GRES in slurm.conf and gres.conf: a count of MiB. */
const SLACK_GRES = 'slackmem';

/** Longer than what a site has there: sinfo cuts at a width. */
const WIDTH = 4_096;

/** Asks for one node's GRES and comment. `scontrol show node` would have slurmctld send every node of the cluster, and leave the others out itself (sdiag: REQUEST_NODE_INFO). */
export function askNodeGres(node: string): string[] {
  return ['sinfo', '-h', '-N', '-n', node, '-O', `Gres:${WIDTH},Comment:${WIDTH}`];
}

/** What sinfo says of a node's GRES and comment. */
export interface NodeGres {
  /** All but ours, as an update must list them: `gpu:a100:4`. */
  readonly others: readonly string[];
  /** Slurm shows no GRES of which a node has none. */
  readonly slackMib: number;
  readonly comment: string;
}

/** Slurm prints counts that are multiples of 1024 with a suffix. */
const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  K: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
  T: 1024 ** 4,
};
const OURS = /\s*\[caddis: [^\]]*\]/;

/** Whether the site has our GRES, from `scontrol show config`: an update of any other is accepted too, and says nothing. */
export function knowsSlack(config: string): boolean {
  const types = /^GresTypes\s*=\s*(\S+)/m.exec(config)?.[1] ?? '';
  return types.split(',').includes(SLACK_GRES);
}

/** The answer to `askNodeGres`: a line for each partition of the node, all the same. */
export function parseNodeGres(answer: string): NodeGres {
  const [line = ''] = answer.split('\n');
  const known = (text: string) => (text.trim() === '(null)' ? '' : text.trim());
  // `gpu:4(S:0-1,3)`: the sockets are Slurm's own finding.
  const entries = known(line.slice(0, WIDTH))
    .replace(/\([^)]*\)/g, '')
    .split(',')
    .filter((entry) => entry !== '');
  const ours = entries.find((entry) => entry === SLACK_GRES || entry.startsWith(`${SLACK_GRES}:`));
  return {
    others: entries.filter((entry) => entry !== ours),
    slackMib: ours === undefined ? 0 : countOf(ours),
    comment: known(line.slice(WIDTH)),
  };
}

/** `GRES=` of an update: it takes the place of the whole list. */
export function gresList(node: NodeGres, slackMib: number): string {
  return [...node.others, `${SLACK_GRES}:${slackMib}`].join(',');
}

/** The node's comment with our word in it; what the site wrote there stays. */
export function commentWith(comment: string, word: string): string {
  return `${comment.replace(OURS, '')} [caddis: ${word}]`.trim();
}

function countOf(entry: string): number {
  const [, count, suffix = ''] = /:(\d+)([KMGT]?)$/.exec(entry) ?? [];
  return Number(count ?? 0) * (FACTORS[suffix] as number);
}
