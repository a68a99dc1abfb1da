import { type Frame, frameOf, payloadOf } from './frame.ts';
import { u64s } from './tlv.ts';
import { ExitKind, FrameType, ProtocolError } from './types.ts';

/** How a session ended. */
export type ExitStatus =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'signalled'; readonly signal: number }
  | { readonly kind: 'not-started'; readonly errno: number; readonly message: string }
  | { readonly kind: 'lost'; readonly message: string };

export interface Exit {
  readonly status: ExitStatus;
  /** For `not-started`: the status with which the stdio side ends; undefined leaves it to it. */
  readonly endWith?: number;
  readonly stdoutEnd: bigint;
  readonly stderrEnd: bigint;
}

const EXIT_HEAD_BYTES = 24;
const MAX_MESSAGE_BYTES = 4096;
/** Flags of an EXIT that names the status to end with: this plus the status. */
const EXIT_NAMES_STATUS = 256;

export function encodeExit(session: bigint, exit: Exit): Frame {
  const [kind, value, message] = exitNumbers(exit.status);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(kind, 0);
  head.writeUInt32LE(value >>> 0, 4);
  const text = Buffer.from(message, 'utf8').subarray(0, MAX_MESSAGE_BYTES);
  const payload = Buffer.concat([head, u64s([exit.stdoutEnd, exit.stderrEnd]), text]);
  const flags = exit.endWith === undefined ? 0 : EXIT_NAMES_STATUS + exit.endWith;
  return frameOf({ type: FrameType.Exit, flags, session, payload });
}

/** Parses EXIT. Throws ProtocolError. */
export function parseExit(frame: Frame): Exit {
  const p = payloadOf(frame);
  if (p.length < EXIT_HEAD_BYTES || p.length > EXIT_HEAD_BYTES + MAX_MESSAGE_BYTES)
    throw new ProtocolError(`EXIT of ${p.length} bytes`);
  const value = p.readUInt32LE(4);
  const message = p.subarray(EXIT_HEAD_BYTES).toString('utf8');
  return {
    status: exitStatus(p.readUInt32LE(0), value, message),
    stdoutEnd: p.readBigUInt64LE(8),
    stderrEnd: p.readBigUInt64LE(16),
  };
}

function exitStatus(kind: number, value: number, message: string): ExitStatus {
  switch (kind) {
    case ExitKind.Exited:
      return { kind: 'exited', code: value & 0xff };
    case ExitKind.Signalled:
      if (value < 1 || value > 64) throw new ProtocolError(`EXIT by signal ${value}`);
      return { kind: 'signalled', signal: value };
    case ExitKind.NotStarted:
      return { kind: 'not-started', errno: value, message };
    case ExitKind.Lost:
      return { kind: 'lost', message };
    default:
      throw new ProtocolError(`EXIT of unknown kind ${kind}`);
  }
}

function exitNumbers(status: ExitStatus): [kind: number, value: number, message: string] {
  switch (status.kind) {
    case 'exited':
      return [ExitKind.Exited, status.code, ''];
    case 'signalled':
      return [ExitKind.Signalled, status.signal, ''];
    case 'not-started':
      return [ExitKind.NotStarted, status.errno, status.message];
    case 'lost':
      return [ExitKind.Lost, 0, status.message];
  }
}

/** ATTACH: bytes of stdin (unused), stdout, stderr that were delivered. Throws ProtocolError. */
export function parseAttach(frame: Frame): readonly [bigint, bigint, bigint] {
  const p = payloadOf(frame);
  if (p.length !== 24) throw new ProtocolError(`ATTACH of ${p.length} bytes, expected 24`);
  return [p.readBigUInt64LE(0), p.readBigUInt64LE(8), p.readBigUInt64LE(16)];
}

export interface StreamPosition {
  readonly acknowledged: bigint;
  readonly produced: bigint;
  readonly eof: boolean;
}

/** ATTACHED: positions of stdin, stdout, stderr. Throws ProtocolError. */
export function parseAttached(frame: Frame): readonly [StreamPosition, StreamPosition, StreamPosition] {
  const p = payloadOf(frame);
  if (p.length !== 52) throw new ProtocolError(`ATTACHED of ${p.length} bytes, expected 52`);
  const at = (i: number): StreamPosition => ({
    acknowledged: p.readBigUInt64LE(16 * i),
    produced: p.readBigUInt64LE(16 * i + 8),
    eof: p[48 + i] !== 0,
  });
  return [at(0), at(1), at(2)];
}
