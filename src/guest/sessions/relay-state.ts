import { type Frame, frameOf } from '../protocol/frame.ts';
import { type ExitStatus, encodeExit, parseAttach } from '../protocol/session-payloads.ts';
import { FrameType, Stream } from '../protocol/types.ts';
import type { SessionPeer } from './peer.ts';
import { StreamGuard } from './stream-guard.ts';
import type { TextProcess } from './text-process.ts';

/**
 * Not started yet. `waiting`: it comes from another host, where it had been started if `again`, and its caller's step is not here yet. `killed`: its caller in the
 * guest died meanwhile, so that it must not be started. `held`: signals that it gets then.
 */
export interface CalledRelay {
  readonly kind: 'waiting' | 'deciding';
  readonly again: boolean;
  killed: boolean;
  readonly held: Frame[];
}

export interface RunningRelay {
  readonly kind: 'running';
  readonly peer: SessionPeer;
  readonly guards: Record<number, StreamGuard>;
  /** Frames of the command pass. `asked`: it was sent an ATTACH with this mark; what it said before its answer to that is stale, and is said again. */
  attached: 'no' | 'asked' | 'yes';
  mark: bigint;
  /** What the guest has acknowledged of stdout and stderr. */
  taken: readonly [bigint, bigint];
  exit: ExitStatus | undefined;
  /** Output behind an OPENED or ATTACHED that the guest may not have seen yet: it comes through the other port. */
  early: { frames: Frame[]; bytes: number } | undefined;
}

/** Nobody here knows it (caddisd was restarted, or the shim is away): all shims are asked with the stub's ATTACH. */
interface OrphanRelay {
  readonly kind: 'orphan';
  readonly attach: Frame | undefined;
  readonly timer: NodeJS.Timeout;
}

export type Relay =
  | CalledRelay
  /** It was refused, or had ended before the machine was moved: its text and its end are here. */
  | { readonly kind: 'refused'; readonly text: TextProcess }
  | RunningRelay
  | OrphanRelay;

/** What was called, as the guest sent it; empty when that was too much to remember. */
export interface RelayCall {
  readonly parent: bigint;
  readonly document: Buffer;
}

export function newRunning(peer: SessionPeer): RunningRelay {
  return {
    kind: 'running',
    peer,
    guards: { [Stream.Stdin]: new StreamGuard() },
    attached: 'yes',
    mark: 0n,
    taken: [0n, 0n],
    exit: undefined,
    early: undefined,
  };
}

/** Notes what the guest has of the command's output. */
export function noteTaken(relay: RunningRelay, frame: Frame): void {
  const [stdout, stderr] = relay.taken;
  if (frame.type === FrameType.Attach) {
    const [, toStdout, toStderr] = parseAttach(frame);
    relay.taken = [toStdout, toStderr];
  } else if (frame.type !== FrameType.Ack) return;
  else if (frame.stream === Stream.Stdout && frame.offset > stdout) relay.taken = [frame.offset, stderr];
  else if (frame.stream === Stream.Stderr && frame.offset > stderr) relay.taken = [stdout, frame.offset];
}

export function lost(session: bigint, message: string): Frame {
  return encodeExit(session, { status: { kind: 'lost', message }, stdoutEnd: 0n, stderrEnd: 0n });
}

/** Makes a stdio side say where it stands. */
export function askToAttach(session: bigint): Frame {
  return frameOf({ type: FrameType.Lost, session });
}
