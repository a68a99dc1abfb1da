import { History } from './history.ts';

export interface GrowthSample {
  readonly atMs: number;
  /** What the kernel cannot take back from the job. */
  readonly heldBytes: number;
  readonly runnableTasks: number;
}

interface Span {
  readonly fromMs: number;
  heldBytes: number;
  runnable: number;
  samples: number;
}

/** Over how much of the last samples a rate is taken. */
const RATE_MS = 3_000;
/** Enough for the last seconds, also while a job near its wall reports five times a second. */
const RECENT = 64;
/** Into so many parts the time is divided by which calm is judged. */
const SPANS = 12;

/** What a job has held and wanted to run: its last seconds, and its peaks over as long as calm takes. */
export class GrowthSeries {
  readonly #recent = new History<GrowthSample>(RECENT);
  readonly #spanMs: number;
  readonly #spans: Span[] = [];

  /** `calmMs`: 0 = calm is never judged. */
  constructor(calmMs: number) {
    this.#spanMs = Math.max(calmMs / SPANS, 1);
  }

  add(sample: GrowthSample): void {
    this.#recent.add(sample);
    let last = this.#spans.at(-1);
    if (!last || sample.atMs - last.fromMs >= this.#spanMs) {
      last = { fromMs: sample.atMs, heldBytes: 0, runnable: 0, samples: 0 };
      this.#spans.push(last);
      if (this.#spans.length > SPANS + 1) this.#spans.shift();
    }
    last.heldBytes = Math.max(last.heldBytes, sample.heldBytes);
    last.runnable += sample.runnableTasks;
    last.samples += 1;
  }

  /** Undefined before the first sample. */
  get heldBytes(): number | undefined {
    return this.#recent.all().at(-1)?.heldBytes;
  }

  /** How fast it grows; 0 when it does not. */
  get bytesPerMs(): number {
    const samples = this.#recent.last(RATE_MS);
    const [first, last] = [samples[0], samples.at(-1)];
    if (!first || !last || last.atMs === first.atMs) return 0;
    return Math.max((last.heldBytes - first.heldBytes) / (last.atMs - first.atMs), 0);
  }

  /** Mean of the tasks that ran or wanted to, of at least `least` samples over most of `ms`; undefined: not known. */
  runnable(ms: number, least: number): number | undefined {
    const samples = this.#recent.last(ms);
    const [first, last] = [samples[0], samples.at(-1)];
    if (!first || !last || samples.length < least || last.atMs - first.atMs < 0.6 * ms) return undefined;
    return samples.reduce((sum, { runnableTasks }) => sum + runnableTasks, 0) / samples.length;
  }

  coversMs(nowMs: number): number {
    const first = this.#spans[0];
    return first ? nowMs - first.fromMs : 0;
  }

  get peakHeldBytes(): number {
    return Math.max(0, ...this.#spans.map(({ heldBytes }) => heldBytes));
  }

  /** The highest mean of a part of the time. */
  get peakRunnable(): number {
    return Math.max(0, ...this.#spans.map(({ runnable, samples }) => runnable / samples));
  }
}
