/** How far the memory image of a running machine is (see LiveImage). */
export interface CopyLook {
  readonly remainingBytes: number;
  /** Of all passes; with zeros, as what remains is counted. */
  readonly doneBytes: number;
  readonly writtenBytes: number;
  readonly pass: number;
  /** Monotonic. */
  readonly atMs: number;
  /** For how long it was written since the look before. */
  readonly ranMs: number;
}

export type CopyStep =
  /** Write for so long, and look again. */
  | { readonly do: 'run'; readonly ms: number }
  /** Stop the job now: what is left takes about so long. `why` is set where more writing would not make it shorter. */
  | {
      readonly do: 'stop';
      readonly leftMs: number;
      readonly leftBytes: number;
      readonly why: string | undefined;
    };

export interface CopyBounds {
  /** What is left when the job is stopped takes so long at most, if it can be had. */
  readonly leftMs: number;
  /** Of all passes together. */
  readonly mostMs: number;
  readonly mostBytes: number;
}

/** The first pass goes over all memory, and zeros, of which there may be much wherever, are only looked at: at most so fast. */
const ZEROS_PER_MS = 20e6;
/** Of what is left, so that a timer that comes late does not run past the end. */
const SHARE_OF_LEFT = 0.5;
/** Near the end it is taken for data: a timer is not finer than what zeros would take. */
const TAIL_MS = 2;
/** Data, until it was seen. */
const ASSUMED_PER_MS = 1e6;
const PASSES_MOST = 8;
/** A pass that is not shorter than this share of the one before will not be followed by a much shorter one. */
const SHRINKS_TO = 0.7;

/**
 * When to stop a job whose memory is being written while it runs: so that as little as possible is left, which is what is left of this pass and what the job has written over since the pass began.
 */
export class PreCopy {
  readonly #bounds: CopyBounds;
  #begunMs: number | undefined;
  #passBegunMs = 0;
  #last: CopyLook | undefined;
  #passBytes = Number.POSITIVE_INFINITY;
  #perMs = ASSUMED_PER_MS;
  #dirtyPerMs: number;

  /** `dirtyBytesPerSecond`: what the job has written over when it was last looked at; 0: not known. */
  constructor(bounds: CopyBounds, dirtyBytesPerSecond = 0) {
    this.#bounds = bounds;
    this.#dirtyPerMs = dirtyBytesPerSecond / 1000;
  }

  /** What the job writes over, as far as it was seen. */
  get dirtyBytesPerSecond(): number {
    return this.#dirtyPerMs * 1000;
  }

  /** All was done with so many bytes. What its only pass has left to be written again was not seen before. */
  ended(doneBytes: number): void {
    if (!this.#last || this.#last.pass > 1) return;
    const dirtyBytes = Math.max(doneBytes - this.#last.doneBytes - this.#last.remainingBytes, 0);
    this.#dirtyPerMs = dirtyBytes / Math.max(this.#last.atMs - this.#passBegunMs, 1);
  }

  next(look: CopyLook): CopyStep {
    const isStuck = this.#take(look);
    const { leftMs, mostMs, mostBytes } = this.#bounds;
    const passLeftMs = look.remainingBytes / this.#perMs;
    const dirtyMs = (this.#dirtyPerMs * (look.atMs - this.#passBegunMs)) / this.#perMs;
    const left = passLeftMs + dirtyMs;
    const stop = (why?: string): CopyStep => ({
      ...{ do: 'stop', leftMs: left, leftBytes: left * this.#perMs },
      why,
    });
    if (left <= leftMs) return stop();
    if (look.atMs - (this.#begunMs ?? 0) > mostMs)
      return stop(`it was written for ${Math.round(mostMs / 1000)} s`);
    if (look.writtenBytes > mostBytes) return stop('several times its memory was written');
    if (isStuck || look.pass >= PASSES_MOST)
      return stop('it writes over its memory as fast as that is written');
    // What it has written over comes in the next pass: only where that is the greater part.
    if (passLeftMs <= leftMs) return look.pass > 1 || dirtyMs > leftMs ? across(passLeftMs) : stop();
    return { do: 'run', ms: this.#slice(look) };
  }

  #slice({ pass, remainingBytes }: CopyLook): number {
    const share = SHARE_OF_LEFT * remainingBytes;
    const asData = share / this.#perMs;
    const asZeros = pass === 1 ? share / ZEROS_PER_MS : asData;
    return Math.max(1, asZeros, Math.min(asData, TAIL_MS));
  }

  /** True when a new pass has begun that is hardly smaller than the one before. */
  #take(look: CopyLook): boolean {
    const last = this.#last;
    this.#last = look;
    if (this.#begunMs === undefined) {
      this.#begunMs = look.atMs;
      this.#passBegunMs = look.atMs;
    }
    if (!last) return false;
    if (look.pass === last.pass) {
      const written = look.writtenBytes - last.writtenBytes;
      if (written > (last.remainingBytes - look.remainingBytes) / 2 && look.ranMs >= 1)
        this.#perMs = written / look.ranMs;
      return false;
    }
    // It began within the last run.
    this.#dirtyPerMs = look.remainingBytes / Math.max(look.atMs - this.#passBegunMs, 1);
    this.#passBegunMs = look.atMs;
    const isStuck = look.remainingBytes > SHRINKS_TO * this.#passBytes;
    this.#passBytes = look.remainingBytes;
    return isStuck;
  }
}

function across(passLeftMs: number): CopyStep {
  return { do: 'run', ms: passLeftMs + 1 };
}
