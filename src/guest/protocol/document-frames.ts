import { type Frame, frameOf, payloadOf } from './frame.ts';
import { DOCUMENT_MAX_BYTES, MORE, PAYLOAD_MAX_BYTES, ProtocolError } from './types.ts';

/** Cuts a document into frames of one type and session (MORE on all but the last). */
export function documentFrames(type: number, session: bigint, document: Buffer): Frame[] {
  const frames: Frame[] = [];
  let at = 0;
  do {
    const payload = document.subarray(at, at + PAYLOAD_MAX_BYTES);
    const more = at + payload.length < document.length;
    frames.push(frameOf({ type, session, flags: more ? MORE : 0, offset: BigInt(at), payload }));
    at += payload.length;
  } while (at < document.length);
  return frames;
}

/** Puts the documents of one leg together, bounded in number and in bytes. */
export class DocumentAssembler {
  readonly #parts = new Map<string, { pieces: Buffer[]; bytes: number }>();
  readonly #maxParts: number;

  /** `maxParts`: unfinished documents at a time (64, as the C side has). */
  constructor(maxParts = 64) {
    this.#maxParts = maxParts;
  }

  /** The whole document when this frame was its last part. Throws ProtocolError when the parts do not fit or a bound is passed. */
  take(frame: Frame): Buffer | undefined {
    const key = `${frame.type}/${frame.session}`;
    const part = this.#parts.get(key) ?? { pieces: [], bytes: 0 };
    if (frame.offset !== BigInt(part.bytes))
      throw this.#fail(key, `part at ${frame.offset}, expected ${part.bytes}`);
    if (part.bytes + frame.length > DOCUMENT_MAX_BYTES)
      throw this.#fail(key, `above ${DOCUMENT_MAX_BYTES} bytes`);
    const more = (frame.flags & MORE) !== 0;
    if (!more && part.bytes === 0) return payloadOf(frame);
    if (frame.length === 0) throw this.#fail(key, 'an empty part');
    part.pieces.push(...frame.pieces);
    part.bytes += frame.length;
    if (more) {
      if (!this.#parts.has(key) && this.#parts.size >= this.#maxParts)
        throw this.#fail(key, `more than ${this.#maxParts} unfinished documents`);
      this.#parts.set(key, part);
      return undefined;
    }
    this.#parts.delete(key);
    return Buffer.concat(part.pieces, part.bytes);
  }

  #fail(key: string, why: string): ProtocolError {
    this.#parts.delete(key);
    return new ProtocolError(`document ${key} (type/session): ${why}`);
  }
}
