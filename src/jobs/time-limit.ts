/** The scheduler's limit on this run of a job, in milliseconds. */
interface TimeLeft {
  readonly limitMs: number;
  readonly leftMs: number;
}

export interface BridgeQuestion extends TimeLeft {
  /** In all runs of the job together. */
  readonly ranMs: number;
  /** What it may run in all. */
  readonly capMs: number;
  /** How long before the limit it is saved. */
  readonly beforeMs: number;
  /** The scheduler lets a run's limit be changed, so that the last one ends at the cap. */
  readonly canShorten: boolean;
}

export type BridgeDecision =
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'bridge' }
  /** The limit acts as it would natively. */
  | { readonly do: 'let-end' };

const MINUTE_MS = 60_000;
/** Limits are changed while a job runs. */
const LOOK_AGAIN_MS = 60_000;
const SHORTEST_WAIT_MS = 1_000;

/**
 * Whether a job is saved and goes on under its id, now that its time limit comes. No more than its cap is ever handed out: where the limit of the next run cannot be shortened, the
 * whole of that run must fit. Half of a limit at least is run, however long before it a site wants to save.
 */
export function decideBridge(question: BridgeQuestion): BridgeDecision {
  const { limitMs, leftMs, ranMs, capMs, beforeMs, canShorten } = question;
  const untilDueMs = leftMs - Math.min(beforeMs, limitMs / 2);
  if (untilDueMs > 0)
    return { do: 'wait', ms: Math.max(Math.min(untilDueMs, LOOK_AGAIN_MS), SHORTEST_WAIT_MS) };
  const nextMs = canShorten ? MINUTE_MS : limitMs;
  return ranMs + nextMs <= capMs ? { do: 'bridge' } : { do: 'let-end' };
}

/** Whole minutes by which this run's limit goes beyond what is left of the cap. */
export function minutesBeyondCap(leftMs: number, ranMs: number, capMs: number): number {
  return Math.max(0, Math.floor((leftMs - (capMs - ranMs)) / MINUTE_MS));
}

/** Whole minutes that a job is given for what it stood still; what is too much is taken off the next time (`owedMs` below 0). */
export function minutesOwed(owedMs: number): { readonly minutes: number; readonly owedMs: number } {
  const minutes = Math.max(0, Math.ceil(owedMs / MINUTE_MS));
  return { minutes, owedMs: owedMs - minutes * MINUTE_MS };
}
