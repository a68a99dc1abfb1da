import { type Frame, frameOf, payloadOf } from './frame.ts';
import { TlvWriter, u64s } from './tlv.ts';
import { FrameType, MovedFlag, ProtocolError, type Stream, Tag } from './types.ts';

/** Where an output stream of a session stands on the stdio side. */
export interface StreamStand {
  /** Bytes of the stream that were delivered. */
  readonly delivered: bigint;
  /** Where that is in the regular file that it goes to; this and the next two are absent when it goes anywhere else. */
  readonly position?: bigint;
  readonly device?: bigint;
  readonly inode?: bigint;
}

/** What RESUME says of one output stream. */
export interface KeptOutput {
  readonly stream: typeof Stream.Stdout | typeof Stream.Stderr;
  readonly delivered: bigint;
  /** A file that holds what was written so far: its first `length` bytes are put back. Undefined: there is nothing to put back. */
  readonly file: { readonly path: string; readonly length: bigint } | undefined;
}

const STAND_BYTES = 32;
/** As a position or a length: none. */
const NONE = 2n ** 64n - 1n;

/** MOVED to a stdio side: the session goes on elsewhere. It says how far it came, and waits for `endMoved`. */
export function askMoved(session: bigint, exitStatus = 0): Frame {
  return frameOf({ type: FrameType.Moved, session, offset: BigInt(exitStatus) });
}

/** MOVED to a stdio side whose answer is kept for good: this client ends with `exitStatus`, which tells the scheduler that the job goes on elsewhere. */
export function endMoved(session: bigint, exitStatus = 0): Frame {
  return frameOf({
    type: FrameType.Moved,
    session,
    flags: MovedFlag.End,
    offset: BigInt(exitStatus),
  });
}

/** MOVED of a stdio side: stdout, stderr. Throws ProtocolError. */
export function parseMoved(frame: Frame): readonly [StreamStand, StreamStand] {
  const p = payloadOf(frame);
  if (p.length !== 2 * STAND_BYTES)
    throw new ProtocolError(`MOVED of ${p.length} bytes, expected ${2 * STAND_BYTES}`);
  const at = (i: number): StreamStand => {
    const [delivered, position, device, inode] = [0, 8, 16, 24].map((n) =>
      p.readBigUInt64LE(STAND_BYTES * i + n),
    ) as [bigint, bigint, bigint, bigint];
    return position === NONE ? { delivered } : { delivered, position, device, inode };
  };
  return [at(0), at(1)];
}

/** The answer to MOVED, for the stdio sides that caddisd has itself. */
export function encodeMoved(session: bigint, streams: readonly StreamStand[]): Frame {
  const numbers = streams.flatMap((s) => [s.delivered, s.position ?? NONE, s.device ?? 0n, s.inode ?? 0n]);
  return frameOf({ type: FrameType.Moved, session, payload: u64s(numbers) });
}

/** Throws RangeError for a path that does not fit. */
export function encodeResume(session: bigint, kept: readonly KeptOutput[]): Frame {
  const w = new TlvWriter();
  for (const { stream, delivered, file } of kept) {
    const path = Buffer.from(file?.path ?? '', 'utf8');
    if (path.length > 4095 || path.includes(0))
      throw new RangeError(`not a path: ${file?.path.slice(0, 80)}`);
    w.bytes(Tag.Kept, u64s([stream, delivered, file?.length ?? NONE]), path);
  }
  return frameOf({ type: FrameType.Resume, session, payload: w.finish() });
}
