import { type Frame, frameOf } from '../protocol/frame.ts';
import { encodeExit, parseAttach } from '../protocol/session-payloads.ts';
import { u64s } from '../protocol/tlv.ts';
import { AttachedState, FrameType, OpenedFlag } from '../protocol/types.ts';
import type { MovedSession } from './moved.ts';
import type { SessionPeer } from './peer.ts';

/**
 * A step that had ended on another host, while the command that started it had not: that command is run again, starts all of its tasks again, and this one has only its
 * end to be told.
 */
export class EndedSession {
  readonly moved: MovedSession;
  readonly #peer: SessionPeer;

  /** `resume`: undefined for a shim that has had it. */
  constructor(moved: MovedSession, peer: SessionPeer, resume: Frame | undefined) {
    this.moved = moved;
    this.#peer = peer;
    const flags = resume ? OpenedFlag.Resumes : 0;
    peer.send(frameOf({ type: FrameType.Opened, session: moved.session, flags }));
    if (resume) peer.send(resume);
  }

  /** A frame of the shim. Throws ProtocolError. */
  take(frame: Frame): void {
    if (frame.type !== FrameType.Attach) return;
    const { session, exit } = this.moved;
    const [, stdoutEnd, stderrEnd] = parseAttach(frame);
    const positions = [0n, 0n, stdoutEnd, stdoutEnd, stderrEnd, stderrEnd];
    const payload = Buffer.concat([u64s(positions), Buffer.from([1, 1, 1, 0])]);
    this.#peer.send(
      frameOf({
        type: FrameType.Attached,
        session,
        flags: AttachedState.Exited,
        offset: frame.offset,
        payload,
      }),
    );
    const status = exit ?? { kind: 'lost' as const, message: 'nobody knows how this step ended' };
    this.#peer.send(encodeExit(session, { status, stdoutEnd, stderrEnd }));
  }
}
