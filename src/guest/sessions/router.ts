import { EventEmitter } from 'node:events';
import { setTimeout } from 'node:timers/promises';

import type { SessionLink } from '../link.ts';
import { documentFrames } from '../protocol/document-frames.ts';
import { type Frame, frameOf } from '../protocol/frame.ts';
import { encodeResume, type KeptOutput } from '../protocol/move-documents.ts';
import type { ExitStatus } from '../protocol/session-payloads.ts';
import { encodeStart, type StartDocument } from '../protocol/start-document.ts';
import { FrameType, GUEST_OPENED, ProtocolError, SignalScope } from '../protocol/types.ts';
import { EndedSession } from './ended-session.ts';
import { HeldSignals, type OnSignal } from './held-signals.ts';
import { illegal } from './legality.ts';
import {
  Departure,
  describeEnded,
  describeStanding,
  describeTaken,
  type MovedSession,
  type MovedState,
  type MoveOptions,
} from './moved.ts';
import type { SessionPeer } from './peer.ts';
import { type RelayDecision, type RelayRequest, Relays } from './relays.ts';
import { type SayNotStarted, type StepEvents, type StepOrigin, StepSession } from './step.ts';

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

/** What adapters call the step that is the job itself. */
const MAIN_STEP = 'batch';
/** Per machine: a node starts far fewer, so that more is a runaway. */
const MOST_SESSIONS = 4096;
/** How often streams are looked at while they come to rest. */
const SETTLE_EVERY_MS = 5;
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
  readonly #signals = new HeldSignals();
  readonly #onSignal: OnSignal;
  /** Steps that are over, by the relayed command that started them, while that one is not. */
  readonly #endedBy = new Map<bigint, MovedSession[]>();
  /** Main steps that ended of themselves: a scheduler that had put the job back meanwhile starts them once more, and they are to be told how they ended. */
  readonly #mainEnded = new Map<bigint, MovedSession>();
  /** Such steps of a machine that comes from another host, and their shims. */
  readonly #ended = new Map<bigint, MovedSession>();
  /** The machine goes to another host: nothing passes any more. */
  #departure: Departure | undefined;
  #closed = false;

  constructor(
    link: SessionLink,
    options: {
      readonly decideRelay: (request: RelayRequest) => Promise<RelayDecision>;
      readonly sayNotStarted?: SayNotStarted | undefined;
      readonly isForMainOnly?: ((step: string, signal: number) => boolean) | undefined;
      /** Asked for every signal of a shim. What it holds waits for `releaseSignals`. */
      readonly onSignal?: OnSignal | undefined;
    },
  ) {
    super();
    this.#link = link;
    this.#words = options;
    this.#onSignal = options.onSignal ?? (() => 'pass');
    this.#relays = new Relays({
      decide: options.decideRelay,
      toGuest: (frame) => link.send(frame),
      fence: () => link.ping({ timeoutMs: FENCE_TIMEOUT_MS }),
      parentPeer: (parent) => this.#steps.get(parent)?.peer,
      anyPeer: () => this.#anyPeer(),
      over: (session) => this.#endedBy.delete(session),
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
  open(id: bigint, name: string, start: StartDocument, peer: SessionPeer, origin: StepOrigin = {}): void {
    if (this.#steps.has(id)) this.attach(id, peer);
    else this.#add(id, name, documentFrames(FrameType.Open, id, encodeStart(start)), peer, origin);
  }

  /** Connects a shim that came back with its session id. It is answered OPENED and sends ATTACH. */
  attach(id: bigint, peer: SessionPeer, name = '', origin: StepOrigin = {}): void {
    const step = this.#steps.get(id);
    const ended = this.#ended.get(id);
    if (ended) {
      this.#tellEnd(new EndedSession(ended, peer, undefined), peer);
      return;
    }
    if (!step) {
      this.#add(id, name, [], peer, origin);
      return;
    }
    const old = step.peer;
    if (old) {
      step.peerGone();
      old.close('another client took over its session');
    }
    step.peerBack(peer);
    this.#listen(step, peer);
    this.#departure?.peerBack(step);
  }

  /**
   * Connects a shim whose step goes on from another host, after `resume`: it is told what to put back into its files (`kept`), and sends ATTACH. Throws RangeError for
   * a session that `resume` was not told of.
   */
  attachResumed(id: bigint, name: string, peer: SessionPeer, kept: readonly KeptOutput[]): void {
    const frame = encodeResume(id, kept);
    const ended = this.#ended.get(id);
    const step = this.#steps.get(id);
    if (ended) this.#tellEnd(new EndedSession(ended, peer, frame), peer);
    else if (!step) throw new RangeError(`session ${id} is none of those that came with the machine`);
    else {
      step.name = name;
      step.resumeBy(frame);
      this.attach(id, peer);
    }
  }

  /**
   * Lets go of the sessions of a frozen machine, which goes on elsewhere: shims deliver what they have, and answer; what relayed commands have said and the guest has not
   * taken is collected. Nothing passes to or from the guest any more. Once per router. Shims, and the commands that they run, end after `letGo`.
   */
  async move(options: MoveOptions = {}): Promise<MovedState> {
    const { quietMs = 250, drainMs = 2000, answerMs = 5000, exitStatus = 0 } = options;
    if (this.#departure) throw new Error('the machine is being moved already');
    const departure = new Departure(exitStatus);
    this.#departure = departure;
    const relays = this.#relays.leave();
    this.#drained();
    await relays.quiet(quietMs, drainMs);
    // First those whose output comes back as that of a command here: all of it is to be in there when that is collected.
    const started = [...this.#steps.values()].filter(({ about: { relay } }) => this.#isRelayed(relay));
    if (started.length > 0) {
      relays.cut(started.flatMap(({ about: { relay } }) => relay ?? []));
      await departure.ask(started, answerMs);
      await relays.quiet(quietMs, drainMs);
    }
    const commands = await relays.gather(answerMs);
    await departure.ask(
      [...this.#steps.values()].filter((step) => !started.includes(step)),
      answerMs,
    );
    const steps = [...this.#steps.values()].map((step) => departure.describe(step));
    return {
      sessions: [...steps, ...this.#over()],
      relays: commands,
      forget: [...this.#acknowledge],
    };
  }

  /** What `move` has given is kept for good: the shims end with its exit status, and so does one that comes back. */
  letGo(): void {
    this.#departure?.letGo([...this.#steps.values()]);
  }

  /**
   * How the sessions stand, for a checkpoint after which the machine runs on. True to the byte when the job stands still inside the guest and `settle` has resolved with
   * true.
   */
  stand(): MovedState {
    const steps = [...this.#steps.values()].map((step) => describeStanding(step));
    return {
      sessions: [...steps, ...this.#over()],
      relays: this.#relays.stand(),
      forget: [...this.#acknowledge],
    };
  }

  /** How the job's main process has ended by itself; undefined: it has not, or not in this router's time. */
  get mainExit(): ExitStatus | undefined {
    return [...this.#mainEnded.values()].at(-1)?.exit;
  }

  #over(): MovedSession[] {
    return [...[...this.#endedBy.values()].flat(), ...this.#mainEnded.values()];
  }

  /** Resolves with true when no stream has moved for `quietMs`, with false after `boundMs`. What a step said flows on through the command that started it. */
  async settle(quietMs: number, boundMs: number): Promise<boolean> {
    const deadline = performance.now() + boundMs;
    let last = this.#stands();
    let sinceMs = performance.now();
    while (performance.now() < deadline) {
      await setTimeout(SETTLE_EVERY_MS);
      const now = this.#stands();
      if (now !== last) sinceMs = performance.now();
      else if (performance.now() - sinceMs >= quietMs) return true;
      last = now;
    }
    return false;
  }

  #stands(): string {
    const steps = [...this.#steps.values()].map(({ delivered }) => delivered.join());
    const relays = this.#relays.stand().map(({ streams }) => streams.map((s) => s.acknowledged).join());
    return [...steps, ...relays].join(' ');
  }

  /**
   * Sessions and relayed commands of a machine that was moved here: call it before anything else, and before the link is up, since the guest's stubs attach then. Shims
   * come by `attachResumed`; `opening` sessions by `open`.
   */
  resume(state: MovedState): void {
    for (const moved of state.sessions) {
      if (moved.phase === 'ended') {
        this.#ended.set(moved.session, moved);
        if (moved.relay !== undefined) this.#rememberEnd(moved.relay, moved);
        else this.#mainEnded.set(moved.session, moved);
      } else if (moved.phase !== 'opening') {
        const { session, name, relay, task } = moved;
        const origin = { ...(relay !== undefined && { relay }), ...(task !== undefined && { task }) };
        this.#newStep(session, name, [], origin).comesFrom(moved);
      }
    }
    for (const session of state.forget) this.#acknowledge.add(session);
    this.#relays.resume(state.relays);
    if (this.#link.isUp) this.#up();
  }

  /** What `onSignal` held is delivered, in its order, or dropped. */
  releaseSignals(deliver: boolean): void {
    for (const frame of this.#signals.release()) if (deliver) this.#steps.get(frame.session)?.fromPeer(frame);
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
    else if (!this.#departure) this.#link.send(frame);
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

  #add(id: bigint, name: string, open: readonly Frame[], peer: SessionPeer, origin: StepOrigin = {}): void {
    if (this.#closed) throw new Error('the machine is gone');
    if (this.#departure && open.length > 0) throw new Error('the machine goes on elsewhere');
    if (this.#steps.size >= MOST_SESSIONS)
      throw new RangeError(`more than ${MOST_SESSIONS} steps in one machine`);
    const step = this.#newStep(id, name, open, origin);
    step.peerBack(peer);
    if (this.#link.isUp) step.linkUp();
    this.#listen(step, peer);
    this.#departure?.peerBack(step);
  }

  #newStep(id: bigint, name: string, open: readonly Frame[], origin: StepOrigin): StepSession {
    const events: StepEvents = {
      toGuest: (frame) => this.#toGuest(frame, step.peer),
      opened: (pid) => this.emit('opened', id, pid),
      exited: (status) => this.emit('exited', id, status),
      acknowledged: () => this.#finish(id),
      attached: () => this.#relays.parentAttached(id),
      moved: (frame) => {
        if (!this.#departure) throw new ProtocolError('MOVED that nobody asked for');
        this.#departure.answered(step, frame);
      },
      violation: (text) => this.#violation(text),
      sayNotStarted: this.#words.sayNotStarted,
      isForMainOnly: this.#words.isForMainOnly,
    };
    const step = new StepSession(id, name, open, events, origin);
    this.#steps.set(id, step);
    return step;
  }

  #listen(step: StepSession, peer: SessionPeer): void {
    peer.attach({
      frame: (frame) => this.#fromPeer(step, peer, frame),
      closed: () => {
        this.#paused.delete(peer);
        this.#relays.peerGone(peer);
        if (step.peer !== peer || this.#steps.get(step.id) !== step) return;
        step.peerGone();
        if (!this.#departure) this.emit('peerGone', step.id, peer.pid);
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
    else if (frame.session !== step.id)
      throw new ProtocolError(`frame for session ${frame.session} from the shim of ${step.id}`);
    else if (frame.type !== FrameType.Signal || !this.#holds(step, frame)) step.fromPeer(frame);
  }

  #holds(step: StepSession, frame: Frame): boolean {
    // A machine that leaves gets none: what they mean is known elsewhere.
    const verdict = this.#departure ? 'hold' : this.#onSignal(step.id, step.name, Number(frame.offset));
    return this.#signals.take(frame, verdict);
  }

  #tellEnd(session: EndedSession, peer: SessionPeer): void {
    peer.attach({
      frame: (frame) => {
        const wrong = illegal(frame, 'stdio');
        if (wrong) throw new ProtocolError(wrong);
        session.take(frame);
      },
      closed: () => undefined,
    });
  }

  #rememberEnd(relay: bigint, ended: MovedSession): void {
    this.#endedBy.set(relay, [...(this.#endedBy.get(relay) ?? []), ended]);
  }

  #isRelayed(relay: bigint | undefined): relay is bigint {
    return relay !== undefined && this.#relays.has(relay);
  }

  #fromGuest(frame: Frame): void {
    const relayed = (frame.session & GUEST_OPENED) !== 0n;
    const wrong = illegal(frame, relayed ? 'stdio' : 'process');
    try {
      if (wrong) throw new ProtocolError(wrong);
      if (relayed) this.#relays.fromGuest(frame);
      else if (this.#departure) this.#steps.get(frame.session)?.noteOnly(frame);
      else this.#steps.get(frame.session)?.fromGuest(frame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#violation(`session ${frame.session}: ${error.message}`);
    }
  }

  #toGuest(frame: Frame, from: SessionPeer | undefined): void {
    if (this.#departure || this.#link.send(frame) || !from || this.#paused.has(from)) return;
    this.#paused.add(from);
    from.pause();
  }

  #drained(): void {
    for (const peer of this.#paused) peer.resume();
    this.#paused.clear();
  }

  #up(): void {
    if (this.#departure) return;
    for (const session of this.#acknowledge) this.#sendAcknowledge(session);
    this.#acknowledge.clear();
    for (const step of this.#steps.values()) step.linkUp();
    this.#relays.linkUp();
  }

  #down(): void {
    // Shims that are about to leave have nothing to lose.
    if (this.#departure) return;
    for (const step of this.#steps.values()) step.linkDown();
    this.#relays.linkDown();
    this.#drained();
  }

  #finish(session: bigint): void {
    const step = this.#steps.get(session);
    const relay = step?.about.relay;
    if (step && this.#isRelayed(relay)) this.#rememberEnd(relay, describeEnded(step));
    else if (step?.name === MAIN_STEP && step.endedByItself)
      this.#mainEnded.set(session, describeTaken(step));
    this.#steps.delete(session);
    this.#signals.forget(session);
    this.#departure?.over(session);
    if (this.#link.isUp && !this.#departure) this.#sendAcknowledge(session);
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
