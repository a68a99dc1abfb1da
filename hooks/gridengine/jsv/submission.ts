/** A job at submission, as far as the JSV looks at it. */
export interface Submission {
  /** `-l` (hard): complex name to value as the user wrote it; flags without a value are TRUE. */
  readonly hard: ReadonlyMap<string, string>;
  /** Queues of `-q` (hard): `all.q`, `all.q@n1`, patterns as the user wrote them. */
  readonly queues: readonly string[];
  /** The user's own `-ckpt` and `-r`. */
  readonly checkpointEnvironment: string | undefined;
  readonly rerun: 'y' | 'n' | undefined;
  /** qrsh, qlogin, qsh: nobody could go back to the queue with them. */
  readonly interactive: boolean;
  /** `-notify`. */
  readonly notify?: boolean;
  /** `-pe NAME`. */
  readonly parallelEnvironment?: string | undefined;
  /** The most that it may get of its parallel environment; 1 without. */
  readonly slots: number;
}
