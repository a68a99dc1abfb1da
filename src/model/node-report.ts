/** What a node says of itself to its scheduler. This file is a leaf: it imports nothing. */
export interface NodeReport {
  /** Machines can be made here. False: the slack is 0. */
  readonly ok: boolean;
  readonly jobs: number;
  /** What can be lent now, beside what is lent already. */
  readonly slack: Share;
  /** What jobs that run in slack were given. */
  readonly lent: Share;
  readonly pressure: NodePressure;
}

export interface Share {
  readonly memoryBytes: number;
  readonly cpus: number;
}

/** From 0 (nobody waits) to 1 (what was lent is needed back). */
export interface NodePressure {
  readonly memory: number;
  readonly cpu: number;
  readonly io: number;
  /** The highest of the three. */
  readonly overall: number;
}
