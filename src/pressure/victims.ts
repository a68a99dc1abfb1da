/** A machine that runs in what others have reserved, as the give-back policy sees it. */
export interface Victim {
  readonly job: string;
  /** `pressed`: it stands still for owners, and for nobody else. `leaving`: it is on its way to the store. `other`: suspended, starting, or somebody is being asked about it. */
  readonly standing: 'awake' | 'pressed' | 'leaving' | 'other';
  readonly standingMs: number;
  readonly weight: 'low' | 'least';
  /** CPUs of the host that it used of late. */
  readonly cpus: number;
  readonly residentBytes: number;
  /** What its balloon holds. */
  readonly balloonBytes: number;
  /** What its balloon could get beside: what the guest has touched and does not use. */
  readonly reclaimableBytes: number;
  /** Guest memory that has no page of the host behind it: a balloon takes it first, and nobody gains by it. */
  readonly untouchedBytes: number;
  /** A balloon was told its size a moment ago. */
  readonly isReclaiming: boolean;
  readonly growthBytesPerSecond: number;
  /** The scheduler's own: a higher one goes later. Undefined: not known, as the lowest. */
  readonly priority: number | undefined;
  /** Why it cannot be saved and sent back, if so. */
  readonly unsavable: string | undefined;
}

/** Who goes first: the lowest priority; of equals the one that stands still already, then the one that is saved soonest. */
export function inOrder(victims: readonly Victim[]): Victim[] {
  const rank = ({ priority }: Victim) => priority ?? Number.NEGATIVE_INFINITY;
  const still = ({ standing }: Victim) => (standing === 'pressed' ? 0 : 1);
  return [...victims].sort((a, b) =>
    rank(a) === rank(b)
      ? still(a) - still(b) || a.residentBytes - b.residentBytes || a.job.localeCompare(b.job)
      : rank(a) - rank(b),
  );
}
