import { type Frame, frameOf } from '../protocol/frame.ts';
import {
  type ExitStatus,
  encodeExit,
  parseAttach,
  parseAttached,
  parseExit,
} from '../protocol/session-payloads.ts';
import { AttachedState, FrameType, OpenedFlag, SignalScope, Stream } from '../protocol/types.ts';
import type { MovedSession } from './moved.ts';
import type { SessionPeer } from './peer.ts';
import { StreamGuard } from './stream-guard.ts';

/** Frames of the shim that must not be lost while the link is down; a shim has no reason for more. */
const MOST_HELD = 64;
/** Frames of early output: windows full of small ones; a guest that sends more has them dropped and must send them again. */
const MOST_EARLY = 4096;

/** How a scheduler says that a program could not be started: what the user reads, and the step's exit status. */
export type SayNotStarted = (failure: { readonly errno: number; readonly message: string }) => {
  readonly message: string;
  readonly status: number;
};

/** Where a step comes from, when a command inside the job started it: its relay session, and which of its tasks this is. */
export interface StepOrigin {
  readonly relay?: bigint;
  readonly task?: number;
}

export interface StepEvents {
  toGuest(frame: Frame): void;
  opened(pid: number): void;
  exited(status: ExitStatus): void;
  acknowledged(): void;
  /** The shim knows where it stands. */
  attached(): void;
  /** The shim's answer to MOVED. */
  moved(frame: Frame): void;
  violation(text: string): void;
  readonly sayNotStarted?: SayNotStarted | undefined;
  /** Does the scheduler mean this signal for the step's main process alone? Its shim cannot tell. */
  readonly isForMainOnly?: ((step: string, signal: number) => boolean) | undefined;
}

/** One step of the job: the guest runs it, a shim holds its stdio. No stream bytes are kept here. */
export class StepSession {
  readonly id: bigint;
  /** Step names begin anew with each start of the job: that of the shim which is there now. */
  name: string;
  readonly about: StepOrigin;
  peer: SessionPeer | undefined;
  /** How it ended, as far as the guest has said. */
  exit: ExitStatus | undefined;
  /** How long stdout and stderr are in all; once it has ended. */
  ends: readonly [bigint, bigint] | undefined;
  /** It comes from another host and its shim has not taken that yet: where it stood there. */
  resuming: MovedSession | undefined;
  #resume: Frame | undefined;
  #phase: 'opening' | 'running' | 'exited' = 'opening';
  #wasSignalled = false;
  /** Guest and shim agreed on offsets in this generation: frames pass. */
  #attached = false;
  /** The shim's ATTACH, waiting for the link. */
  #attach: Frame | undefined;
  #held: Frame[] = [];
  /**
   * Output that overtook its OPENED or ATTACHED: those come through the control port, output through the bulk port. At most the streams' windows;
   * undefined once the answer has passed.
   */
  #early: Frame[] | undefined = [];
  #open: readonly Frame[];
  #linkUp = false;
  readonly #events: StepEvents;
  readonly #guards = [new StreamGuard(), new StreamGuard(), new StreamGuard()] as const;

  /** `open`: frames that start it; none for a session that already runs. */
  constructor(id: bigint, name: string, open: readonly Frame[], events: StepEvents, about: StepOrigin = {}) {
    this.id = id;
    this.name = name;
    this.about = about;
    this.#open = open;
    this.#events = events;
    if (open.length === 0) this.#phase = 'running';
  }

  get phase(): 'opening' | 'running' | 'exited' {
    return this.#phase;
  }

  /** It has ended, and nobody had sent it a signal. */
  get endedByItself(): boolean {
    return !this.#wasSignalled && (this.exit?.kind === 'exited' || this.exit?.kind === 'signalled');
  }

  /** stdout, stderr: what the shim has said that it delivered. */
  get delivered(): readonly [bigint, bigint] {
    return [this.#guards[Stream.Stdout].acknowledged, this.#guards[Stream.Stderr].acknowledged];
  }

  /** It stood there on another host. */
  comesFrom(moved: MovedSession): void {
    this.resuming = moved;
    this.exit = moved.exit;
    if (moved.phase === 'exited') this.#phase = 'exited';
  }

  /** What its shim is told (RESUME), until it has attached. */
  resumeBy(frame: Frame): void {
    this.#resume = frame;
  }

  /** The machine is frozen: nothing passes any more, but what ended before that has ended. */
  noteOnly(frame: Frame): void {
    if (frame.type === FrameType.Exit) this.#takeExit(frame);
  }

  linkUp(): void {
    this.#linkUp = true;
    if (this.#phase === 'opening') {
      for (const frame of this.#open) this.#events.toGuest(frame);
      for (const guard of this.#guards) guard.start(0n);
      this.#early = [];
      this.#attached = true;
      this.#flushHeld();
    } else if (this.#attach) this.#forwardAttach(this.#attach);
    else if (!this.peer) this.#flushHeld();
  }

  linkDown(): void {
    this.#linkUp = false;
    // A shim that waits for OPENED just goes on waiting: its OPEN is sent again.
    if (this.#attached && this.#phase !== 'opening') this.peer?.send(this.#frame(FrameType.Lost));
    this.#attached = false;
  }

  peerGone(): void {
    this.peer = undefined;
    this.#attach = undefined;
    if (this.#attached && this.#linkUp) this.#events.toGuest(this.#frame(FrameType.Detach));
    this.#attached = false;
  }

  /** A shim came for a session that exists: it learns the id again and is expected to ATTACH. */
  peerBack(peer: SessionPeer): void {
    this.peer = peer;
    this.#attached = this.#phase === 'opening' && this.#linkUp;
    if (this.#phase === 'opening') return;
    const flags = this.#resume ? OpenedFlag.Resumes : 0;
    peer.send(frameOf({ type: FrameType.Opened, session: this.id, flags }));
    if (this.#resume) peer.send(this.#resume);
  }

  fromPeer(sent: Frame): void {
    const frame = this.#narrowed(sent);
    if (frame.type === FrameType.Signal) this.#wasSignalled = true;
    if (frame.type === FrameType.Attach) {
      const [, stdout, stderr] = parseAttach(frame);
      if (this.#phase === 'opening') return;
      this.#guards[Stream.Stdout].start(stdout);
      this.#guards[Stream.Stderr].start(stderr);
      this.#resume = undefined;
      this.resuming = undefined;
      this.#attach = frame;
      if (this.#linkUp) this.#forwardAttach(frame);
      this.#events.attached();
      return;
    }
    if (frame.type === FrameType.Moved) {
      this.#events.moved(frame);
      return;
    }
    if (frame.type === FrameType.ExitAck) {
      this.#events.acknowledged();
      return;
    }
    if (!this.#attached) {
      this.#hold(frame);
      return;
    }
    if (frame.type === FrameType.Data) {
      const verdict = this.#guards[Stream.Stdin].data(frame.offset, frame.length);
      if (verdict === 'beyond') this.peer?.close('more stdin in flight than the window allows');
      if (verdict !== 'ok') return;
    } else if (frame.type === FrameType.Ack) this.#guard(frame.stream).acknowledge(frame.offset);
    this.#events.toGuest(frame);
  }

  fromGuest(frame: Frame): void {
    switch (frame.type) {
      case FrameType.Opened:
        if (this.#phase === 'opening') this.#hasOpened(Number(frame.offset));
        this.#pass(frame);
        this.#passEarly();
        return;
      case FrameType.Attached:
        this.#takeAttached(frame);
        this.#passEarly();
        return;
      case FrameType.Exit:
        this.#pass(this.#takeExit(frame));
        return;
      case FrameType.Data:
        if (this.#mayPass(frame)) this.#passOutput(frame);
        return;
      case FrameType.Eof:
        this.#passOutput(frame);
        return;
      case FrameType.Ack:
        if (!this.#guards[Stream.Stdin].acknowledge(frame.offset)) return;
        break;
    }
    this.#pass(frame);
  }

  /** From caddisd itself, not from the shim: passes whether or not a shim is attached. */
  signal(frame: Frame): void {
    this.#wasSignalled = true;
    if (this.#linkUp) this.#events.toGuest(frame);
    else this.#hold(frame);
  }

  #hasOpened(pid: number): void {
    this.#phase = 'running';
    this.#open = [];
    this.#events.opened(pid);
  }

  #pass(frame: Frame): void {
    if (this.#attached) this.peer?.send(frame);
  }

  #passOutput(frame: Frame): void {
    if (!this.#early) this.#pass(frame);
    else if (this.#attached && this.#early.length < MOST_EARLY) this.#early.push(frame);
  }

  #passEarly(): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const frame of early) this.#pass(frame);
  }

  #takeAttached(frame: Frame): void {
    const [stdin] = parseAttached(frame);
    if (this.#phase === 'opening' && frame.flags !== AttachedState.Unknown) {
      // The OPEN had arrived before the link broke and was sent again: for the shim this is its OPENED.
      this.#hasOpened(0);
      this.#pass(this.#frame(FrameType.Opened));
      return;
    }
    this.#guards[Stream.Stdin].start(stdin.acknowledged, stdin.produced);
    this.#pass(frame);
  }

  /** Returns what the shim is told: a program that did not start is spoken of as its scheduler does. */
  #takeExit(frame: Frame): Frame {
    const exit = parseExit(frame);
    const { status } = exit;
    this.exit = status;
    this.ends = [exit.stdoutEnd, exit.stderrEnd];
    if (this.#phase !== 'exited') {
      this.#phase = 'exited';
      this.#open = [];
      this.#events.exited(status);
    }
    const said = status.kind === 'not-started' ? this.#events.sayNotStarted?.(status) : undefined;
    if (status.kind !== 'not-started' || !said) return frame;
    return encodeExit(this.id, {
      ...exit,
      status: { ...status, message: said.message },
      endWith: said.status,
    });
  }

  #mayPass(frame: Frame): boolean {
    if (!this.#attached) return false;
    const verdict = this.#guard(frame.stream).data(frame.offset, frame.length);
    if (verdict === 'beyond')
      this.#events.violation(
        `session ${this.id}: the guest sent stream ${frame.stream} beyond its window (offset ${frame.offset}, ${frame.length} bytes)`,
      );
    return verdict === 'ok';
  }

  #forwardAttach(frame: Frame): void {
    const [, stdout, stderr] = parseAttach(frame);
    this.#guards[Stream.Stdout].start(stdout);
    this.#guards[Stream.Stderr].start(stderr);
    this.#attach = undefined;
    this.#attached = true;
    this.#early = [];
    this.#events.toGuest(frame);
    this.#flushHeld();
  }

  #narrowed(frame: Frame): Frame {
    if (frame.type !== FrameType.Signal || frame.flags !== SignalScope.Session) return frame;
    const mainOnly = this.#events.isForMainOnly?.(this.name, Number(frame.offset));
    return mainOnly ? frameOf({ ...frame, flags: SignalScope.Main }) : frame;
  }

  #hold(frame: Frame): void {
    if (frame.type !== FrameType.Signal && frame.type !== FrameType.WinSize) return;
    if (this.#held.length < MOST_HELD) this.#held.push(frame);
  }

  #flushHeld(): void {
    const held = this.#held;
    this.#held = [];
    for (const frame of held) this.#events.toGuest(frame);
  }

  #guard(stream: number): StreamGuard {
    return stream === Stream.Stderr ? this.#guards[Stream.Stderr] : this.#guards[Stream.Stdout];
  }

  #frame(type: number): Frame {
    return frameOf({ type, session: this.id });
  }
}
