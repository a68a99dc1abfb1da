import { MiB } from '../model/units.ts';

/** A modest disk over a busy network: what is expected before anything was saved here. */
const FIRST_BYTES_PER_SECOND = 80 * MiB;
/** A save that was faster counts for a third. One that was slower counts at once: a prediction that is too short leaves an owner without what is its own. */
const FASTER_COUNTS = 1 / 3;
/** Less than this says more of what a save costs whatever its size than of what it moves. */
const LEAST_BYTES = 32 * MiB;

/** What saves move in a second, as a moving average that is slow to believe in better times. */
export class Bandwidth {
  #bytesPerSecond: number;

  constructor(bytesPerSecond = FIRST_BYTES_PER_SECOND) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  /** `bytes` of the host's memory were saved in `ms`. */
  saw(bytes: number, ms: number): void {
    if (bytes < LEAST_BYTES || !(ms > 0)) return;
    const newest = (1000 * bytes) / ms;
    const change = newest - this.#bytesPerSecond;
    this.#bytesPerSecond += change > 0 ? FASTER_COUNTS * change : change;
  }
}
