import { MiB } from '../model/units.ts';

/** A modest disk over a busy network: what is expected before anything was saved here. */
const FIRST_BYTES_PER_SECOND = 80 * MiB;
/** The newest save counts for a third: a store that slows down is noticed after two. */
const NEWEST = 1 / 3;
/** Less than this says more of what a save costs whatever its size than of what it moves. */
const LEAST_BYTES = 32 * MiB;

/** What saves move in a second, as a moving average. */
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
    this.#bytesPerSecond += NEWEST * ((1000 * bytes) / ms - this.#bytesPerSecond);
  }
}
