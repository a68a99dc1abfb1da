/** The names by which slurm.conf knows this host: a NodeName each, with a slurmd of its own. */
export interface Nodes {
  readonly own: string;
  /** Its node of the scavenge partition, where the site has such nodes beside the ordinary ones; undefined: there is one slurmd. */
  readonly shadow: string | undefined;
  readonly all: readonly string[];
  /** Whose GRES tells how much can be lent here. */
  readonly lending: string;
  /** Name of another host's shadow node. */
  readonly shadowOf: (host: string) => string | undefined;
}

/** `pattern`: slurm.scavenge_node of caddis.toml, in which `{host}` stands for the host's own NodeName. */
export function nodesOf(own: string, pattern: string | undefined): Nodes {
  const shadowOf = (host: string) => pattern?.replaceAll('{host}', host);
  const shadow = shadowOf(own);
  return {
    own,
    shadow,
    all: shadow === undefined ? [own] : [own, shadow],
    lending: shadow ?? own,
    shadowOf,
  };
}
