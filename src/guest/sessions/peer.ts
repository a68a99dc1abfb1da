import type { Frame } from '../protocol/frame.ts';

/** The host end of a session: a `caddis-hook exec` that is connected to caddisd. */
export interface SessionPeer {
  readonly pid: number;
  /** Sends a frame. A peer that leaves more unread than its windows allow is closed. */
  send(frame: Frame): void;
  /** Stops and goes on reading from the peer, when the guest is congested. */
  pause(): void;
  resume(): void;
  close(reason: string): void;
  /** From now on the peer's frames and its end (once) go there. Frames that came earlier follow at once. */
  attach(handlers: { readonly frame: (frame: Frame) => void; readonly closed: () => void }): void;
}
