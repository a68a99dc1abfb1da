import { EventEmitter } from 'node:events';

import type { SessionLink } from '../link.ts';
import { documentFrames } from '../protocol/document-frames.ts';
import { type Frame, frameOf } from '../protocol/frame.ts';
import type { ExitStatus } from '../protocol/session-payloads.ts';
import { encodeStart, type StartDocument } from '../protocol/start-document.ts';
import { FrameType, GUEST_OPENED, ProtocolError, SignalScope } from '../protocol/types.ts';
import { illegal } from './legality.ts';
import type { SessionPeer } from './peer.ts';
import { type RelayDecision, type RelayRequest, Relays } from './relays.ts';
import { type SayNotStarted, type StepEvents, StepSession } from './step.ts';

export interface SessionInfo {
  readonly session: bigint;
  readonly name: string;
  readonly phase: 'opening' | 'running' | 'exited';
  /** Pid of the shim on the host; undefined: none is attached. */
  readonly peerPid: number | undefined;
}

export interface SessionRouterEvents {
  /** The guest runs it; `pid` is the guest's (0: not known). */
  opened: [session: bigint, pid: number];
  exited: [session: bigint, status: ExitStatus];
  /** The shim took status and output: the session is over. */
  acknowledged: [session: bigint];
  /** The shim's connection ended before its session did. */
  peerGone: [session: bigint, pid: number];
  /** The guest did what the protocol forbids; the link was reset where that helps. */
  violation: [text: string];
}

/** Per machine: a node starts far fewer, so that more is a runaway. */
const MOST_SESSIONS = 4096;
/** A guest that does not answer a PING for so long while its link is up has been stopped: then nothing else moves either. */
const FENCE_TIMEOUT_MS = 24 * 3600 * 1000;

/**
 * Connects the sessions of one machine with their shims. Holds no stream bytes: what cannot be delivered is dropped and sent again by its producer after the
 * next ATTACH. It starts empty after a restart of caddisd: shims come back by themselves.
 */
export class SessionRouter extends EventEmitter<SessionRouterEvents> {
  readonly #link: SessionLink;
  readonly #steps = new Map<bigint, StepSession>();
  readonly #relays: Relays;
  readonly #words: Pick<StepEvents, 'sayNotStarted' | 'isForMainOnly'>;
  readonly #paused = new Set<SessionPeer>();
  /** Sessions that the shim has finished with and the guest has not heard of yet. */
  readonly #acknowledge = new Set<bigint>();
  #closed = false;

  constructor(
    link: SessionLink,
    options: {
      readonly decideRelay: (request: RelayRequest) => Promise<RelayDecision>;
      readonly sayNotStarted?: SayNotStarted | undefined;
      readonly isForMainOnly?: ((step: string, signal: number) => boolean) | undefined;
    },
  ) {
    super();
    this.#link = link;
    this.#words = options;
    this.#relays = new Relays({
      decide: options.decideRelay,
      toGuest: (frame) => link.send(frame),
      fence: () => link.ping({ timeoutMs: FENCE_TIMEOUT_MS }),
      parentPeer: (parent) => this.#steps.get(parent)?.peer,
      anyPeer: () => this.#anyPeer(),
    });
    link.on('up', () => this.#up());
    link.on('down', () => this.#down());
    link.on('frame', (frame) => this.#fromGuest(frame));
    link.on('drain', () => this.#drained());
    if (link.isUp) this.#up();
  }

  /**
   * Starts a step in the guest, as soon as the link is up, with `peer` as its stdio side. A session that exists already (the shim sent its OPEN again) is
   * attached to instead. Throws RangeError when the document is above 8 MiB or there are too many sessions.
   */
  open(id: bigint, name: string, start: StartDocument, peer: SessionPeer): void {
    if (this.#steps.has(id)) this.attach(id, peer);
    else this.#add(id, name, documentFrames(FrameType.Open, id, encodeStart(start)), peer);
  }

  /** Connects a shim that came back with its session id. It is answered OPENED and sends ATTACH. */
  attach(id: bigint, peer: SessionPeer, name = ''): void {
    const step = this.#steps.get(id);
    if (!step) {
      this.#add(id, name, [], peer);
      return;
    }
    const old = step.peer;
    if (old) {
      step.peerGone();
      old.close('another client took over its session');
    }
    step.peerBack(peer);
    this.#listen(step, peer);
  }

  sessions(): SessionInfo[] {
    return [...this.#steps.values()].map((step) => ({
      session: step.id,
      name: step.name,
      phase: step.phase,
      peerPid: step.peer?.pid,
    }));
  }

  /** Signals a session, known here or not (then from the guest's report). Kept until the link is up for known ones. */
  kill(session: bigint, signal: number, scope: keyof typeof SignalScope = 'Session'): void {
    const frame = frameOf({
      type: FrameType.Signal,
      session,
      offset: BigInt(signal),
      flags: SignalScope[scope],
    });
    const step = this.#steps.get(session);
    if (step) step.signal(frame);
    else this.#link.send(frame);
  }

  killAll(signal: number, scope: keyof typeof SignalScope = 'Session'): void {
    for (const step of this.#steps.values()) if (step.phase !== 'exited') this.kill(step.id, signal, scope);
  }

  /** Forgets an exited session whose shim will not come: nobody wants its output. */
  discard(session: bigint): void {
    this.#finish(session);
  }

  /** The machine is gone for good: every shim is told `message` and ends. */
  close(message: string): void {
    this.#closed = true;
    const payload = Buffer.from(message, 'utf8').subarray(0, 4096);
    for (const step of this.#steps.values())
      step.peer?.send(frameOf({ type: FrameType.Lost, flags: 1, session: step.id, payload }));
    this.#steps.clear();
    this.#relays.close();
  }

  #add(id: bigint, name: string, open: readonly Frame[], peer: SessionPeer): void {
    if (this.#closed) throw new Error('the machine is gone');
    if (this.#steps.size >= MOST_SESSIONS)
      throw new RangeError(`more than ${MOST_SESSIONS} steps in one machine`);
    const step = new StepSession(id, name, open, {
      toGuest: (frame) => this.#toGuest(frame, step.peer),
      opened: (pid) => this.emit('opened', id, pid),
      exited: (status) => this.emit('exited', id, status),
      acknowledged: () => this.#finish(id),
      violation: (text) => this.#violation(text),
      sayNotStarted: this.#words.sayNotStarted,
      isForMainOnly: this.#words.isForMainOnly,
    });
    this.#steps.set(id, step);
    step.peerBack(peer);
    if (this.#link.isUp) step.linkUp();
    this.#listen(step, peer);
  }

  #listen(step: StepSession, peer: SessionPeer): void {
    peer.attach({
      frame: (frame) => this.#fromPeer(step, peer, frame),
      closed: () => {
        this.#paused.delete(peer);
        this.#relays.peerGone(peer);
        if (step.peer !== peer || this.#steps.get(step.id) !== step) return;
        step.peerGone();
        this.emit('peerGone', step.id, peer.pid);
      },
    });
    this.#relays.peerCame(peer);
  }

  #fromPeer(step: StepSession, peer: SessionPeer, frame: Frame): void {
    if (step.peer !== peer) return;
    const relayed = (frame.session & GUEST_OPENED) !== 0n;
    const wrong = illegal(frame, relayed ? 'process' : 'stdio');
    if (wrong) throw new ProtocolError(wrong);
    if (relayed) this.#relays.fromPeer(peer, frame);
    else if (frame.session === step.id) step.fromPeer(frame);
    else throw new ProtocolError(`frame for session ${frame.session} from the shim of ${step.id}`);
  }

  #fromGuest(frame: Frame): void {
    const relayed = (frame.session & GUEST_OPENED) !== 0n;
    const wrong = illegal(frame, relayed ? 'stdio' : 'process');
    try {
      if (wrong) throw new ProtocolError(wrong);
      if (relayed) this.#relays.fromGuest(frame);
      else this.#steps.get(frame.session)?.fromGuest(frame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#violation(`session ${frame.session}: ${error.message}`);
    }
  }

  #toGuest(frame: Frame, from: SessionPeer | undefined): void {
    if (this.#link.send(frame) || !from || this.#paused.has(from)) return;
    this.#paused.add(from);
    from.pause();
  }

  #drained(): void {
    for (const peer of this.#paused) peer.resume();
    this.#paused.clear();
  }

  #up(): void {
    for (const session of this.#acknowledge) this.#sendAcknowledge(session);
    this.#acknowledge.clear();
    for (const step of this.#steps.values()) step.linkUp();
    this.#relays.linkUp();
  }

  #down(): void {
    for (const step of this.#steps.values()) step.linkDown();
    this.#relays.linkDown();
    this.#drained();
  }

  #finish(session: bigint): void {
    this.#steps.delete(session);
    if (this.#link.isUp) this.#sendAcknowledge(session);
    else this.#acknowledge.add(session);
    this.emit('acknowledged', session);
  }

  #sendAcknowledge(session: bigint): void {
    this.#link.send(frameOf({ type: FrameType.ExitAck, session }));
  }

  #violation(text: string): void {
    this.emit('violation', text);
    this.#link.reset(text);
  }

  #anyPeer(): SessionPeer | undefined {
    for (const step of this.#steps.values()) if (step.peer && step.phase !== 'exited') return step.peer;
    return undefined;
  }
}
