/** Who a job runs as, from the host's name service: never from what the user's own process says. */
export interface Identity {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** passwd(5) line. */
  readonly passwd: string;
  /** group(5) lines of all of the user's groups. */
  readonly groupLines: readonly string[];
}
