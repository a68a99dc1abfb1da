import { HEADER_BYTES, MAGIC, PAYLOAD_MAX_BYTES, Stream, TRAILER_BYTES, TRAILER_KEY } from './types.ts';

/** One frame. Its payload may lie in several pieces, as the socket gave them, so that forwarding copies nothing. */
export interface Frame {
  readonly type: number;
  readonly stream: number;
  readonly flags: number;
  readonly session: bigint;
  readonly offset: bigint;
  /** Bytes of all pieces together. */
  readonly length: number;
  readonly pieces: readonly Buffer[];
}

export interface FrameFields {
  readonly type: number;
  readonly stream?: number;
  readonly flags?: number;
  readonly session?: bigint;
  readonly offset?: bigint;
  readonly payload?: Buffer;
}

const NOTHING = Buffer.alloc(0);
/** Up to this payload one copied buffer is cheaper than three entries of a writev. */
const COPY_BELOW_BYTES = 2048;

/** Makes a frame; what is not given is 0, the stream is "none". Throws RangeError when the payload is above 65,536 bytes. */
export function frameOf(fields: FrameFields): Frame {
  const payload = fields.payload ?? NOTHING;
  if (payload.length > PAYLOAD_MAX_BYTES)
    throw new RangeError(`frame payload of ${payload.length} bytes: at most ${PAYLOAD_MAX_BYTES}`);
  return {
    type: fields.type,
    stream: fields.stream ?? Stream.None,
    flags: fields.flags ?? 0,
    session: fields.session ?? 0n,
    offset: fields.offset ?? 0n,
    length: payload.length,
    pieces: payload.length > 0 ? [payload] : [],
  };
}

/** The frame's bytes for `link` (0 on unix socket legs), ready for a corked write: large payloads are passed on, not copied. */
export function encodeFrame(frame: Frame, link: number): Buffer[] {
  if (frame.length <= COPY_BELOW_BYTES) {
    const whole = Buffer.allocUnsafe(HEADER_BYTES + frame.length + TRAILER_BYTES);
    putHeader(whole, frame, link);
    let at = HEADER_BYTES;
    for (const piece of frame.pieces) at += piece.copy(whole, at);
    putTrailer(whole, at, link);
    return [whole];
  }
  const ends = Buffer.allocUnsafe(HEADER_BYTES + TRAILER_BYTES);
  putHeader(ends, frame, link);
  putTrailer(ends, HEADER_BYTES, link);
  return [ends.subarray(0, HEADER_BYTES), ...frame.pieces, ends.subarray(HEADER_BYTES)];
}

/** The payload in one buffer: copied only if it came in several pieces. */
export function payloadOf(frame: Frame): Buffer {
  if (frame.pieces.length === 0) return NOTHING;
  return frame.pieces.length === 1 ? (frame.pieces[0] as Buffer) : Buffer.concat(frame.pieces, frame.length);
}

function putHeader(into: Buffer, frame: Frame, link: number): void {
  into.writeUInt32LE(MAGIC, 0);
  into[4] = frame.type;
  into[5] = frame.stream;
  into.writeUInt16LE(frame.flags, 6);
  into.writeUInt32LE(frame.length, 8);
  into.writeUInt32LE(link, 12);
  into.writeBigUInt64LE(frame.session, 16);
  into.writeBigUInt64LE(frame.offset, 24);
}

function putTrailer(into: Buffer, at: number, link: number): void {
  into.writeUInt32LE((link ^ TRAILER_KEY) >>> 0, at);
}
