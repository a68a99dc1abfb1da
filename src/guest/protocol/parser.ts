import type { Frame } from './frame.ts';
import {
  HEADER_BYTES,
  MAGIC,
  PAYLOAD_MAX_BYTES,
  ProtocolError,
  TRAILER_BYTES,
  TRAILER_KEY,
} from './types.ts';

/**
 * Incremental parser of one leg. Feed it the socket's chunks and take frames until there is none; payloads are slices of the chunks.
 * Holds at most one unfinished frame beside what was fed last. Anything that is no frame of `link` throws ProtocolError, and so does every later call.
 */
export class FrameParser {
  readonly #link: number;
  #chunks: Buffer[] = [];
  /** Where the unread bytes begin in the first chunk. */
  #start = 0;
  #bytes = 0;
  #header: Header | undefined;
  #broken: ProtocolError | undefined;

  constructor(link: number) {
    this.#link = link;
  }

  /** Unread bytes. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
  }

  /** The next whole frame; undefined: more bytes are needed. Throws ProtocolError. */
  next(): Frame | undefined {
    if (this.#broken) throw this.#broken;
    if (!this.#header) {
      if (this.#bytes < HEADER_BYTES) return undefined;
      this.#header = this.#check(this.#takeFlat(HEADER_BYTES));
    }
    const header = this.#header;
    if (this.#bytes < header.length + TRAILER_BYTES) return undefined;
    const pieces = this.#take(header.length);
    const trailer = this.#takeFlat(TRAILER_BYTES).readUInt32LE(0);
    if (trailer !== (this.#link ^ TRAILER_KEY) >>> 0)
      throw this.#fail(`frame type ${header.type}: wrong trailer ${trailer.toString(16)}`);
    this.#header = undefined;
    return { ...header, pieces };
  }

  #check(at: Buffer): Header {
    const magic = at.readUInt32LE(0);
    if (magic !== MAGIC) throw this.#fail(`expected a frame, got magic ${magic.toString(16)}`);
    const length = at.readUInt32LE(8);
    if (length > PAYLOAD_MAX_BYTES)
      throw this.#fail(`frame type ${at[4]} says ${length} bytes, at most ${PAYLOAD_MAX_BYTES}`);
    const link = at.readUInt32LE(12);
    if (link !== this.#link) throw this.#fail(`frame of link ${link} on link ${this.#link}`);
    return {
      type: at[4] as number,
      stream: at[5] as number,
      flags: at.readUInt16LE(6),
      length,
      session: at.readBigUInt64LE(16),
      offset: at.readBigUInt64LE(24),
    };
  }

  #fail(message: string): ProtocolError {
    this.#broken = new ProtocolError(message);
    this.#chunks = [];
    this.#bytes = 0;
    return this.#broken;
  }

  #takeFlat(count: number): Buffer {
    const pieces = this.#take(count);
    return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, count);
  }

  #take(count: number): Buffer[] {
    const pieces: Buffer[] = [];
    let left = count;
    let used = 0;
    while (left > 0) {
      const chunk = this.#chunks[used] as Buffer;
      const end = Math.min(chunk.length, this.#start + left);
      pieces.push(this.#start === 0 && end === chunk.length ? chunk : chunk.subarray(this.#start, end));
      left -= end - this.#start;
      this.#start = end;
      if (end === chunk.length) {
        used += 1;
        this.#start = 0;
      }
    }
    if (used > 0) this.#chunks.splice(0, used);
    this.#bytes -= count;
    return pieces;
  }
}

type Header = Omit<Frame, 'pieces'>;
