import type { Job } from '../job.ts';

const ASK_TIMEOUT_MS = 20_000;
/** A site may let its jobs be asked for more from now on; an array stays one. */
const ASK_AGAIN_AFTER_MS = 600_000;

/** Why a job's scheduler lets nobody ask for more in its name, remembered: many tasks near their walls are not to ask the controller every few seconds, nor to be kept from growing where they are. */
export class RaiseObstacle {
  #reason: string | undefined;
  #untilMs = 0;

  /** As it was last said, for as long as that is believed. */
  known(nowMs: number): string | undefined {
    return nowMs < this.#untilMs ? this.#reason : undefined;
  }

  /** Asks. Rejects when the controller does not answer. */
  async ask(
    { scheduler, request }: Pick<Job, 'scheduler' | 'request'>,
    nowMs: number,
  ): Promise<string | undefined> {
    this.#reason = await scheduler.raise.obstacle(request, AbortSignal.timeout(ASK_TIMEOUT_MS));
    this.#untilMs = nowMs + ASK_AGAIN_AFTER_MS;
    return this.#reason;
  }
}
