import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { execa } from 'execa';

import { askNodeGres } from '../../../src/scheduler/slurm/node-gres.ts';
import { CHECK_INTERVALS } from '../../../src/scheduler/slurm/slack-policy.ts';
import { on } from '../../lab/process.ts';
import { type Bench, type Figures, onLab } from '../bench.ts';
import { increase, parseRpcCounts } from '../sdiag.ts';
import { percentile, rounded } from '../statistics.ts';
import { DIGITS, startController } from './controller.ts';

/** Issue 4. */
const AIM_RATIO = 1.2;
const NODES = 10_000;
/** At rest, of each node and minute. */
const UPDATES_PER_NODE_AND_MINUTE = 0.1;
const CHECKS_PER_NODE_AND_MINUTE = 1 / CHECK_INTERVALS;
const JOBS = 1_000;
const QUERIES = 40;
const QUERY_EVERY_MS = 150;
/** Blocks of all kinds take turns: other work on this machine meets them alike. */
const BLOCKS = 5;
const FEED_EVERY_MS = 100;
/** Processes that ask at a time: this machine has few CPUs. */
const ASKING_MOST = 16;
/** Of what nodes at rest send: less has to be said. */
const SENT_SHARE = 0.9;
/** On a cluster each node has its own CPU for it: here it may not take slurmctld's and squeue's. */
const AS_IF_ELSEWHERE = ['chrt', '--idle', '0'];

interface Rate {
  readonly updates: number;
  readonly checks: number;
}

/** `control` is `without` once more: what the two differ by is this machine's own doing. */
const KINDS = {
  without: { updates: 0, checks: 0 },
  updates: { updates: UPDATES_PER_NODE_AND_MINUTE, checks: 0 },
  control: { updates: 0, checks: 0 },
  all: { updates: UPDATES_PER_NODE_AND_MINUTE, checks: CHECKS_PER_NODE_AND_MINUTE },
} satisfies Readonly<Record<string, Rate>>;
type Kind = keyof typeof KINDS;

/**
 * What the feeds of many nodes cost the users of a slurmctld: squeue's time to list a thousand jobs, with and without what nodes at rest send: updates of slack and comment, and the question
 * whether slurmctld still knows.
 */
export const feeds: Bench = async ({ runs, say }) =>
  onLab(say, async (lab) => {
    say(`a slurmctld with ${NODES} nodes`);
    const controller = await startController(lab, NODES);
    const env = { SLURM_CONF: controller.conf };
    const command = (...argv: string[]) => [
      ...lab.head.prefix,
      'env',
      `SLURM_CONF=${controller.conf}`,
      ...argv,
    ];
    const served = async () => parseRpcCounts(await on(lab.head, ['sdiag'], { env }));
    try {
      await on(lab.head, ['sbatch', '-H', `--array=1-${JOBS}`, '--wrap', 'true'], { env });
      const before = await served();
      const blocks: Record<Kind, number[][]> = {
        without: [],
        updates: [],
        control: [],
        all: [],
      };
      let seconds = 0;
      let checkSeconds = 0;
      for (let block = 0; block < (runs ?? BLOCKS); block++)
        for (const kind of Object.keys(KINDS) as Kind[]) {
          const begun = performance.now();
          const feed = startFeed(command, KINDS[kind]);
          const times = await squeues(command('squeue', '-r', '-h'));
          await feed.stop();
          blocks[kind].push(times);
          const tookSeconds = (performance.now() - begun) / 1000;
          if (KINDS[kind].updates > 0) seconds += tookSeconds;
          if (KINDS[kind].checks > 0) checkSeconds += tookSeconds;
          say(`${kind}: p95 ${rounded(percentile(times, 0.95))} ms`);
        }
      const grown = increase(before, await served());
      const p95 = (kind: Kind) => percentile(blocks[kind].flat(), 0.95);
      const alone = [...blocks.without, ...blocks.control].flat();
      const ratio = (kind: Kind) => p95(kind) / percentile(alone, 0.95);
      const [one, other] = [p95('without'), p95('control')];
      const noise = Math.max(one, other) / Math.min(one, other);
      const checksPerSecond = (grown.REQUEST_NODE_INFO_SINGLE ?? 0) / checkSeconds;
      const wantedChecks = (NODES * CHECKS_PER_NODE_AND_MINUTE) / 60;
      const updatesPerSecond = (grown.REQUEST_UPDATE_NODE ?? 0) / seconds;
      const wantedUpdates = (NODES * UPDATES_PER_NODE_AND_MINUTE) / 60;
      const sent =
        updatesPerSecond >= SENT_SHARE * wantedUpdates && checksPerSecond >= SENT_SHARE * wantedChecks;
      return {
        nodes: NODES,
        jobs: JOBS,
        aim_updates_per_node_and_minute: UPDATES_PER_NODE_AND_MINUTE,
        updates_per_s: rounded(updatesPerSecond),
        wanted_updates_per_s: rounded(wantedUpdates),
        checks_per_s: rounded(checksPerSecond),
        wanted_checks_per_s: rounded(wantedChecks),
        requests_for_all_nodes: grown.REQUEST_NODE_INFO ?? 0,
        squeue_without: figuresOf(alone),
        squeue_with_updates: figuresOf(blocks.updates.flat()),
        squeue_with_all: figuresOf(blocks.all.flat()),
        p95_ratio_updates: rounded(ratio('updates')),
        p95_ratio_all: rounded(ratio('all')),
        aim_p95_ratio: AIM_RATIO,
        p95_ratio_noise: rounded(noise),
        // Where squeue alone differs from itself by more than the aim, or the nodes were not heard as often as they speak, nothing was shown.
        met: noise > AIM_RATIO || !sent ? null : ratio('all') <= AIM_RATIO,
      } satisfies Figures;
    } finally {
      await controller.stop();
    }
  });

/**
 * Sends at these rates (each node and minute) until it is stopped: updates through one scontrol, since on a cluster each node starts its own and that cost is not slurmctld's; questions
 * by a sinfo each, which has no other way.
 */
function startFeed(
  command: (...argv: string[]) => readonly string[],
  { updates, checks }: Rate,
): { stop(): Promise<void> } {
  const [file, ...args] = command(...AS_IF_ELSEWHERE, 'scontrol');
  const scontrol = spawn(file as string, args, { stdio: ['pipe', 'ignore', 'ignore'] });
  const ended = once(scontrol, 'exit');
  const asking = new Set<Promise<unknown>>();
  const perTurn = (rate: number) => (NODES * rate * FEED_EVERY_MS) / 60_000;
  const owed = { updates: 0, checks: 0 };
  const timer = setInterval(() => {
    owed.updates += perTurn(updates);
    owed.checks += perTurn(checks);
    for (; owed.updates >= 1; owed.updates--) scontrol.stdin?.write(`${update(anyNode())}\n`);
    for (; owed.checks >= 1 && asking.size < ASKING_MOST; owed.checks--) {
      const [program, ...words] = command(...AS_IF_ELSEWHERE, ...askNodeGres(anyNode()));
      const question = execa(program as string, words, { stdin: 'ignore', reject: false });
      asking.add(question);
      void question.finally(() => asking.delete(question));
    }
  }, FEED_EVERY_MS);
  return {
    async stop() {
      clearInterval(timer);
      scontrol.stdin?.end('exit\n');
      await Promise.all([ended, ...asking]);
    },
  };
}

/** As src/scheduler/slurm/publish.ts writes it. */
function update(node: string): string {
  const mib = 64 * (1 + Math.floor(Math.random() * 1_000));
  return `update NodeName=${node} Gres=slackmem:${mib} Comment=caddis:calm,slack=${mib}M`;
}

function anyNode(): string {
  return `f${String(1 + Math.floor(Math.random() * NODES)).padStart(DIGITS, '0')}`;
}

/** Milliseconds of each query. */
async function squeues(command: readonly string[]): Promise<number[]> {
  const [file, ...args] = command;
  const times: number[] = [];
  for (let i = 0; i < QUERIES; i++) {
    const begun = performance.now();
    const { stdout } = await execa(file as string, args, { stdin: 'ignore', timeout: 60_000 });
    times.push(performance.now() - begun);
    const jobs = stdout.split('\n').length;
    if (jobs !== JOBS) throw new Error(`squeue lists ${jobs} jobs, expected ${JOBS}`);
    await sleep(QUERY_EVERY_MS);
  }
  return times;
}

function figuresOf(times: readonly number[]): Figures {
  return {
    p50_ms: rounded(percentile(times, 0.5)),
    p95_ms: rounded(percentile(times, 0.95)),
    runs: times.length,
  };
}
