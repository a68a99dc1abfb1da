/** How far the memory image of a running machine is (see LiveImage). */
export interface CopyLook {
  readonly remainingBytes: number;
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
  | { readonly do: 'stop'; readonly leftMs: number; readonly why: string | undefined };

export interface CopyBounds {
  /** What is left when the job is stopped takes so long at most, if it can be had. */
  readonly leftMs: number;
  /** Of all passes together. */
  readonly mostMs: number;
  readonly mostBytes: number;
}

/** Faster than any host writes; zeros are only counted. */
const ASSUMED_BYTES_PER_MS = 4e6;
/** Of what is left, so that a timer that comes late does not run past the end. */
const SHARE_OF_LEFT = 0.5;
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
  /** The fastest seen, and the latest. */
  #mostPerMs = ASSUMED_BYTES_PER_MS;
  #perMs: number | undefined;
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

  /** The image has so many bytes. What its only pass has left to be written again was not seen before. */
  ended(bytes: number): void {
    if (!this.#last || this.#last.pass > 1) return;
    const { remainingBytes, writtenBytes, atMs } = this.#last;
    const dirtyBytes = Math.max(bytes - writtenBytes - remainingBytes, 0);
    this.#dirtyPerMs = dirtyBytes / Math.max(atMs - this.#passBegunMs, 1);
  }

  /** What is written in a millisecond. */
  get bytesPerMs(): number {
    return this.#perMs ?? this.#mostPerMs;
  }

  next(look: CopyLook): CopyStep {
    const isStuck = this.#take(look);
    const { leftMs, mostMs, mostBytes } = this.#bounds;
    const passLeftMs = look.remainingBytes / this.bytesPerMs;
    const dirtyMs = (this.#dirtyPerMs * (look.atMs - this.#passBegunMs)) / this.bytesPerMs;
    const left = passLeftMs + dirtyMs;
    const stop = (why?: string): CopyStep => ({ do: 'stop', leftMs: left, why });
    if (left <= leftMs) return stop();
    if (look.atMs - (this.#begunMs ?? 0) > mostMs)
      return stop(`it was written for ${Math.round(mostMs / 1000)} s`);
    if (look.writtenBytes > mostBytes) return stop('several times its memory was written');
    if (isStuck || look.pass >= PASSES_MOST)
      return stop('it writes over its memory as fast as that is written');
    // What it has written over comes in the next pass: only where that is the greater part.
    if (passLeftMs <= leftMs) return look.pass > 1 || dirtyMs > leftMs ? across(passLeftMs) : stop();
    return { do: 'run', ms: Math.max(1, (SHARE_OF_LEFT * look.remainingBytes) / this.#mostPerMs) };
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
      const perMs = (last.remainingBytes - look.remainingBytes) / Math.max(look.ranMs, 1);
      if (perMs <= 0) return false;
      this.#mostPerMs = this.#perMs === undefined ? perMs : Math.max(this.#mostPerMs, perMs);
      this.#perMs = perMs;
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
