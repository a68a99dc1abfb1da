import type { Frame } from '../protocol/frame.ts';
import { FrameType, GUEST_OPENED, Stream } from '../protocol/types.ts';

export type Side = 'stdio' | 'process';

/** What is wrong with a session frame that comes from `side`, or undefined. Directions and streams are those of docs/protocol.md. */
export function illegal(frame: Frame, side: Side): string | undefined {
  const { type, stream } = frame;
  const output = stream === Stream.Stdout || stream === Stream.Stderr;
  const input = stream === Stream.Stdin;
  switch (type) {
    case FrameType.Open:
    case FrameType.Attach:
    case FrameType.Signal:
    case FrameType.WinSize:
    case FrameType.ExitAck:
      return side === 'stdio' ? undefined : wrongSide(frame, side);
    // The answer of a shim. The stubs in the guest move with it.
    case FrameType.Moved:
      return side === 'stdio' && (frame.session & GUEST_OPENED) === 0n ? undefined : wrongSide(frame, side);
    case FrameType.Opened:
    case FrameType.Attached:
    case FrameType.Exit:
      return side === 'process' ? undefined : wrongSide(frame, side);
    case FrameType.Data:
      return (side === 'process' ? output : input) ? undefined : wrongSide(frame, side);
    case FrameType.Ack:
      return (side === 'process' ? input : output) ? undefined : wrongSide(frame, side);
    // On an output stream the stdio side says by it that nobody reads any more.
    case FrameType.Eof:
      return output || (input && side === 'stdio') ? undefined : wrongSide(frame, side);
    default:
      return `frame type ${type} is not for a session's ${side} side`;
  }
}

function wrongSide(frame: Frame, side: Side): string {
  return `frame type ${frame.type} on stream ${frame.stream} may not come from the ${side} side`;
}
