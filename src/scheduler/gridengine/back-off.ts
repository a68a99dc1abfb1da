import { setTimeout as delay } from 'node:timers/promises';

import { formatKey, type JobKey } from '../../model/job.ts';

/** First wait of a task that was refused, doubled with each further refusal up to the longest, which with the failed start before it stays below the prolog's script_timeout (120 s). */
const FIRST_MS = 2_000;
const LONGEST_MS = 40_000;
/** A task that comes back after this long begins afresh. */
const FORGOTTEN_AFTER_MS = 600_000;

/**
 * Grid Engine starts a job that was sent back again within a second, and has no begin time of its own for it: the slot is held for a while, so that a job that this node
 * cannot take does not spin through the queue.
 */
export class BackOff {
  readonly #last = new Map<string, { readonly waitMs: number; readonly atMs: number }>();
  readonly #firstMs: number;

  constructor(firstMs = FIRST_MS) {
    this.#firstMs = firstMs;
  }

  /** Waits as long as this task's refusals so far demand, or until `signal` aborts. */
  async wait(key: JobKey, signal: AbortSignal): Promise<void> {
    const now = performance.now();
    for (const [name, { atMs }] of this.#last) if (now - atMs > FORGOTTEN_AFTER_MS) this.#last.delete(name);
    const name = formatKey(key);
    const before = this.#last.get(name);
    const waitMs = before ? Math.min(before.waitMs * 2, LONGEST_MS) : this.#firstMs;
    this.#last.set(name, { waitMs, atMs: now });
    await delay(waitMs, undefined, { signal }).catch(() => undefined);
  }
}
