/** What `caddis explain --json` prints, as caddisd answers it. Field names are part of the interface: snake_case, units in the names. */
export interface Explanation {
  readonly host: string;
  /** Undefined: all of this node. */
  readonly job?: string;
  /** What the last look at this node came to; null before the first. */
  readonly now: {
    readonly at: string;
    readonly why: string;
    readonly numbers: Readonly<Record<string, number>>;
    /** Bytes a second, as measured by the last saves of this node, or as expected before the first. */
    readonly save_bytes_per_second: number;
    /** Why nothing can be saved now, if so. */
    readonly store_trouble: string | null;
  } | null;
  /** Borrowers of this node: of one job, or all. */
  readonly borrowers: readonly BorrowerExplained[];
  /** Oldest first. */
  readonly history: readonly DeedRecord[];
}

export interface BorrowerExplained {
  readonly job: string;
  readonly phase: string;
  /** As the policy sees it: awake, pressed (it stands still for owners), leaving, other. */
  readonly standing: string;
  readonly weight: 'low' | 'least';
  readonly resident_bytes: number;
  readonly balloon_bytes: number;
  readonly reclaimable_bytes: number;
  readonly priority: number | null;
  /** Why it cannot be saved and sent back, if so. */
  readonly unsavable: string | null;
}

/** Something that was done, or not, and the numbers that led to it. */
export interface DeedRecord {
  readonly at: string;
  /** Absent: of the node. */
  readonly job?: string;
  readonly what: string;
  readonly why: string;
  readonly numbers: Readonly<Record<string, number>>;
}
