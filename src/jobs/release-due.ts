/** A suspended machine that could give its memory back. */
export interface SuspendedMachine {
  readonly frozenMs: number;
}

export interface ReleaseSettings {
  /** Milliseconds after which a suspended machine is released; 0: never for its age. */
  readonly afterMs: number;
  /** Bytes: below so much available memory of the host the one that has stood still for longest is released; 0: never. */
  readonly belowBytes: number;
}

/**
 * Which machines are to give their memory back now: all that have stood still for long enough, and under pressure of the host one more at a time, since what it gives back shows only
 * when it is gone.
 */
export function releaseDue<Machine extends SuspendedMachine>(
  machines: readonly Machine[],
  { afterMs, belowBytes }: ReleaseSettings,
  availableBytes: number,
): readonly Machine[] {
  const due = afterMs > 0 ? machines.filter(({ frozenMs }) => frozenMs >= afterMs) : [];
  if (due.length > 0 || availableBytes >= belowBytes) return due;
  const [longest] = [...machines].sort((a, b) => b.frozenMs - a.frozenMs);
  return longest === undefined ? [] : [longest];
}
