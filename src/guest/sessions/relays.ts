import { randomBytes } from 'node:crypto';
import { setTimeout as setTimeoutAsync } from 'node:timers/promises';

import { messageOf } from '../../model/errors.ts';
import { DocumentAssembler, documentFrames } from '../protocol/document-frames.ts';
import { type Frame, frameOf } from '../protocol/frame.ts';
import { type OpenDocument, parseOpen } from '../protocol/open-document.ts';
import { type ExitStatus, parseAttached, parseExit } from '../protocol/session-payloads.ts';
import { encodeStart, type StartDocument } from '../protocol/start-document.ts';
import { u64s } from '../protocol/tlv.ts';
import { AttachedState, FrameType, ProtocolError, Stream, WINDOW_BYTES } from '../protocol/types.ts';
import type { MovedRelay } from './moved.ts';
import type { SessionPeer } from './peer.ts';
import {
  askToAttach,
  type CalledRelay,
  lost,
  newRunning,
  noteTaken,
  type Relay,
  type RelayCall,
  type RunningRelay,
} from './relay-state.ts';
import { LeavingRelays } from './relays-leave.ts';
import { type RelayProgress, ResumedRelay } from './resumed-relay.ts';
import { TextProcess } from './text-process.ts';

/** A command that was called inside the job. */
export interface RelayRequest {
  /** Its session id. */
  readonly session: bigint;
  /** The step it was called in, as the guest says; 0: unknown. */
  readonly parent: bigint;
  /** argv, environment, directory, terminal as the guest's stub saw them. Its uid and gid are the guest's word. */
  readonly call: OpenDocument;
  /** Pid of the shim that would run it. */
  readonly peerPid: number;
  /** It had been started before the job was moved, and ended with the host: what must not happen twice is to be refused now. */
  readonly again: boolean;
}

export type RelayDecision =
  /** `ended` is called once when the command is over, or was not started after all. */
  | { readonly allow: StartDocument; readonly ended?: () => void }
  | { readonly refuse: string; readonly exitCode: number };

/** What the guest sends for a caller that died. */
const SIGKILL = 9n;
/** As many as the guest's relay serves (CLIENTS in relay.c), and as many again that end. */
const MOST_RELAYS = 512;
/** A shim reconnects to a restarted caddisd within this time; a relayed command without its shim is lost then. */
const ORPHAN_MS = 60_000;
/** A shim tries again at least every half second. */
const PEER_WAIT_MS = 5_000;
const PEER_EVERY_MS = 50;
const NO_PEER = 'caddis: no step of this job is connected to run the command';
/** A stub's signals for a command that is not there yet. */
const MOST_HELD = 64;
/** Calls that are remembered, so that they can be made again on another host: environments, mostly. */
const MOST_CALL_BYTES = 64 * 1024 * 1024;
/** Frames of output held back at a time: windows full of small ones. */
const MOST_EARLY = 4096;

const NOTHING = Buffer.alloc(0);
/** As the client says that a command was lost. */
const LOST_STATUS = 75;
const UNKNOWN_CALL =
  'caddis: the job goes on on another host, and how this command was called is not known there';

export interface RelaysOptions {
  readonly decide: (request: RelayRequest) => Promise<RelayDecision>;
  readonly toGuest: (frame: Frame) => void;
  /** Resolves when the guest has taken all that was sent through the control port. */
  readonly fence: () => Promise<unknown>;
  /** The shim of this step. */
  readonly parentPeer: (parent: bigint) => SessionPeer | undefined;
  /** Any shim: for a caller whose step has none. */
  readonly anyPeer: () => SessionPeer | undefined;
  /** The command is over, or will not run. */
  readonly over: (session: bigint) => void;
}

/** The relayed commands of one machine: stdio in the guest, process beside the parent's shim on the host. */
export class Relays {
  readonly #options: RelaysOptions;
  readonly #relays = new Map<bigint, Relay>();
  readonly #peers = new Set<SessionPeer>();
  /** What to tell when a command is over. */
  readonly #ended = new Map<bigint, () => void>();
  /** What was called, by session. */
  readonly #calls = new Map<bigint, RelayCall>();
  #callBytes = 0;
  /** Those that come from another host: between the stub's offsets and the new command's. */
  readonly #resumed = new Map<bigint, ResumedRelay>();
  /** Not from 0: an earlier caddisd has marked as well, and its answers may be on their way. */
  #lastMark = randomBytes(8).readBigUInt64LE() >> 1n;
  #leaving: LeavingRelays | undefined;
  #documents = new DocumentAssembler();

  constructor(options: RelaysOptions) {
    this.#options = options;
  }

  linkUp(): void {
    this.#documents = new DocumentAssembler();
  }

  linkDown(): void {
    if (this.#leaving) return;
    for (const resumed of this.#resumed.values()) resumed.linkDown();
    for (const [session, relay] of this.#relays) {
      if (relay.kind !== 'running' || relay.attached === 'no') continue;
      relay.attached = 'no';
      relay.early = undefined;
      relay.peer.send(frameOf({ type: FrameType.Detach, session }));
    }
  }

  peerCame(peer: SessionPeer): void {
    this.#peers.add(peer);
    for (const relay of this.#relays.values())
      if (relay.kind === 'orphan' && relay.attach) peer.send(relay.attach);
  }

  peerGone(peer: SessionPeer): void {
    this.#peers.delete(peer);
    if (this.#leaving) return;
    for (const [session, relay] of this.#relays) {
      if (relay.kind !== 'running' || relay.peer !== peer) continue;
      this.#orphan(session, undefined);
      // Its stub must say where it stands, or nobody can be asked for the command.
      this.#toGuest(askToAttach(session));
    }
  }

  has(session: bigint): boolean {
    return this.#relays.has(session);
  }

  /** Commands of a machine that comes from another host. */
  resume(relays: readonly MovedRelay[]): void {
    for (const moved of relays) {
      const { session, parent, call, started, exit } = moved;
      const toGuest = (frame: Frame) => {
        if (!this.#leaving) this.#options.toGuest(frame);
      };
      this.#resumed.set(session, new ResumedRelay(moved, { toGuest, fence: this.#options.fence }));
      this.#remember(session, parent, call);
      if (exit) this.#end(session, exit);
      else if (call.length === 0) this.#refuse(session, UNKNOWN_CALL, LOST_STATUS);
      else this.#relays.set(session, { kind: 'waiting', again: started, killed: false, held: [] });
    }
  }

  /** A step's shim is there and knows where it stands: what was called in it before the move is called again. */
  parentAttached(parent: bigint): void {
    if (this.#leaving) return;
    for (const [session, relay] of this.#relays) {
      const call = this.#calls.get(session);
      if (relay.kind !== 'waiting' || !call || (call.parent !== parent && call.parent !== 0n)) continue;
      this.#decide(session, call.document, relay);
    }
  }

  /** The machine is frozen and goes on elsewhere: from now on nothing passes to or from the guest. */
  leave(): LeavingRelays {
    this.#leaving ??= new LeavingRelays({
      relays: this.#relays,
      calls: this.#calls,
      resumed: this.#resumed,
      isThere: (peer) => this.#peers.has(peer),
      over: (session) => this.#forget(session),
    });
    return this.#leaving;
  }

  /**
   * How the commands stand, for a checkpoint after which they go on here: what the guest has taken. There is nothing behind it when the job stands still and all is quiet.
   * What is refused, or lost, is left out.
   */
  stand(): MovedRelay[] {
    return [...this.#relays].flatMap(([session, relay]) => {
      if (relay.kind === 'refused' || relay.kind === 'orphan') return [];
      const progress = relay.kind === 'running' ? standing(relay) : { started: relay.again, ...NOTHING_SAID };
      const { parent, document: call } = this.#calls.get(session) ?? { parent: 0n, document: NOTHING };
      return [{ session, parent, call, ...(this.#resumed.get(session)?.moved(progress) ?? progress) }];
    });
  }

  close(): void {
    for (const session of [...this.#relays.keys()]) this.#forget(session);
  }

  /** Throws ProtocolError for what the guest may not send. */
  fromGuest(sent: Frame): void {
    const { session } = sent;
    if (sent.type === FrameType.Open) {
      const document = this.#documents.take(sent);
      if (document) this.#open(session, document);
      return;
    }
    if (this.#leaving) {
      this.#leaving.fromGuest(sent);
      return;
    }
    const resumed = this.#resumed.get(session);
    const frame = resumed ? resumed.fromGuest(sent) : sent;
    if (frame) this.#toCommand(session, frame.type === FrameType.Attach ? this.#marked(frame) : frame);
  }

  /** Told apart from those before it: the answer to one of those may be on its way. */
  #marked(attach: Frame): Frame {
    this.#lastMark += 1n;
    return { ...attach, offset: this.#lastMark };
  }

  #toCommand(session: bigint, frame: Frame): void {
    const relay = this.#relays.get(session);
    if (!relay) {
      if (frame.type === FrameType.Attach && this.#relays.size < MOST_RELAYS) this.#orphan(session, frame);
      return;
    }
    if (relay.kind === 'waiting' || relay.kind === 'deciding') {
      if (frame.type === FrameType.Signal && relay.held.length < MOST_HELD) relay.held.push(frame);
      relay.killed ||= frame.type === FrameType.Signal && frame.offset === SIGKILL;
    } else if (relay.kind === 'refused') {
      relay.text.take(frame);
    } else if (relay.kind === 'running') this.#toPeer(relay, frame);
    else if (relay.kind === 'orphan' && frame.type === FrameType.Attach) this.#orphan(session, frame);
    if (frame.type === FrameType.ExitAck) this.#forget(session);
  }

  /** A frame of the process side. */
  fromPeer(peer: SessionPeer, frame: Frame): void {
    const relay = this.#relays.get(frame.session);
    if (this.#leaving) {
      this.#leaving.fromPeer(peer, frame);
      return;
    }
    if (relay?.kind === 'orphan' && frame.type === FrameType.Attached) {
      if (frame.flags === AttachedState.Unknown || frame.offset !== relay.attach?.offset) return;
      clearTimeout(relay.timer);
      const running = newRunning(peer);
      noteTaken(running, relay.attach);
      this.#relays.set(frame.session, running);
      this.#agreed(running, frame);
      this.#answer(running, frame);
      return;
    }
    if (relay?.kind !== 'running' || relay.peer !== peer || !this.#isCurrent(relay, frame)) return;
    if (frame.type === FrameType.Ack) relay.guards[Stream.Stdin]?.acknowledge(frame.offset);
    if (frame.type === FrameType.Exit) relay.exit = parseExit(frame).status;
    if (frame.type === FrameType.Attached) this.#agreed(relay, frame);
    if (frame.type === FrameType.Opened || frame.type === FrameType.Attached) this.#answer(relay, frame);
    else if (relay.early && (frame.type === FrameType.Data || frame.type === FrameType.Eof)) {
      relay.early.frames.push(frame);
      relay.early.bytes += frame.length;
      if (relay.early.bytes > 2 * WINDOW_BYTES || relay.early.frames.length > MOST_EARLY)
        throw new ProtocolError('a relayed command sent more output than its windows allow');
    } else this.#toGuest(frame);
  }

  /** False for what the command said before it had seen the last ATTACH: all of that comes again. */
  #isCurrent(relay: RunningRelay, frame: Frame): boolean {
    if (relay.attached === 'asked' && frame.type === FrameType.Attached && frame.offset === relay.mark)
      relay.attached = 'yes';
    // The one EXIT that is no repetition says that the bytes asked for are gone.
    return relay.attached === 'yes' || (relay.attached === 'asked' && isRefusal(frame));
  }

  /** Sends OPENED or ATTACHED, and what follows it on the bulk port only when the guest has seen it. */
  #answer(relay: RunningRelay, frame: Frame): void {
    const early = relay.early ?? { frames: [], bytes: 0 };
    relay.early = early;
    this.#toGuest(frame);
    this.#options.fence().then(
      () => {
        if (relay.early !== early) return;
        relay.early = undefined;
        for (const held of early.frames) this.#toGuest(held);
      },
      // The link broke: all of it is sent again after the next ATTACH.
      () => undefined,
    );
  }

  #open(session: bigint, document: Buffer): void {
    const known = this.#relays.get(session);
    if (known) {
      // The guest sends an OPEN again that was cut off by a broken link: it has delivered nothing yet.
      const attach = frameOf({ type: FrameType.Attach, session, payload: u64s([0, 0, 0]) });
      if (known.kind !== 'deciding') this.fromGuest(attach);
      return;
    }
    if (this.#relays.size >= MOST_RELAYS) {
      this.#options.toGuest(lost(session, 'too many commands are being relayed out of this job'));
      return;
    }
    const { parent = 0n } = parseOpen(document);
    this.#remember(session, parent, document);
    const called = { kind: 'deciding' as const, again: false, killed: false, held: [] };
    this.#relays.set(session, called);
    if (!this.#leaving) this.#decide(session, document, called);
  }

  /** Has it ruled, and started or refused. */
  #decide(session: bigint, document: Buffer, called: CalledRelay): void {
    const call = parseOpen(document);
    const { parent = 0n } = call;
    const deciding = { ...called, kind: 'deciding' as const };
    this.#relays.set(session, deciding);
    const decide = async () => {
      const peer = await this.#peerFor(parent);
      if (!peer) return { decision: { refuse: NO_PEER, exitCode: 1 } } as const;
      const request = { session, parent, call, peerPid: peer.pid, again: deciding.again };
      return { peer, decision: await this.#options.decide(request) };
    };
    decide()
      .then(({ peer, decision }) => {
        const ended = 'allow' in decision ? decision.ended : undefined;
        if (this.#leaving) {
          // Ruled too late: the machine leaves with the call as it is.
          ended?.();
          return;
        }
        if (ended) this.#ended.set(session, ended);
        if (this.#relays.get(session) !== deciding || deciding.killed) this.#forget(session);
        else if ('allow' in decision) this.#run(session, peer as SessionPeer, decision.allow);
        else this.#refuse(session, decision.refuse, decision.exitCode);
        for (const frame of deciding.held) this.#toCommand(session, frame);
      })
      .catch((error: unknown) => {
        if (!this.#leaving) this.#refuse(session, `caddis: ${messageOf(error)}`, 1);
      });
  }

  /** The shim of the caller's step; after a restart of caddisd the guest is here before the shims are. */
  async #peerFor(parent: bigint): Promise<SessionPeer | undefined> {
    const deadline = performance.now() + PEER_WAIT_MS;
    for (;;) {
      const peer = parent === 0n ? this.#options.anyPeer() : this.#options.parentPeer(parent);
      if (peer || performance.now() > deadline) return peer ?? this.#options.anyPeer();
      await setTimeoutAsync(PEER_EVERY_MS);
    }
  }

  #run(session: bigint, peer: SessionPeer, start: StartDocument): void {
    if (!this.#peers.has(peer)) {
      this.#refuse(session, 'caddis: the step that called the command is gone', 1);
      return;
    }
    this.#relays.set(session, newRunning(peer));
    for (const frame of documentFrames(FrameType.Open, session, encodeStart(start))) peer.send(frame);
    this.#resumed.get(session)?.processCame();
  }

  #refuse(session: bigint, message: string, exitCode: number): void {
    this.#ended.get(session)?.();
    this.#ended.delete(session);
    const text = this.#textProcess(session);
    text.write(Stream.Stderr, message.endsWith('\n') ? message : `${message}\n`);
    text.exit({ kind: 'exited', code: exitCode });
  }

  /** It had ended before the machine was moved, and only its caller does not know. */
  #end(session: bigint, status: ExitStatus): void {
    this.#textProcess(session).exit(status);
  }

  #textProcess(session: bigint): TextProcess {
    const text = new TextProcess(session, (frame) => this.#toGuest(frame));
    this.#relays.set(session, { kind: 'refused', text });
    this.#resumed.get(session)?.processCame();
    return text;
  }

  #toGuest(frame: Frame): void {
    if (this.#leaving) return;
    const resumed = this.#resumed.get(frame.session);
    const said = resumed ? resumed.toGuest(frame) : frame;
    if (said) this.#options.toGuest(said);
  }

  #remember(session: bigint, parent: bigint, document: Buffer): void {
    const kept = this.#callBytes + document.length <= MOST_CALL_BYTES;
    this.#callBytes += kept ? document.length : 0;
    // A copy: what came in pieces of the link's chunks would keep those.
    this.#calls.set(session, { parent, document: kept ? Buffer.from(document) : NOTHING });
  }

  #agreed(relay: RunningRelay, frame: Frame): void {
    const [stdin] = parseAttached(frame);
    relay.guards[Stream.Stdin]?.start(stdin.acknowledged, stdin.produced);
  }

  #toPeer(relay: RunningRelay, frame: Frame): void {
    if (frame.type === FrameType.Attach) {
      relay.attached = 'asked';
      relay.mark = frame.offset;
      relay.early = undefined;
    } else if (relay.attached === 'no') return;
    noteTaken(relay, frame);
    if (frame.type === FrameType.Data) {
      const verdict = relay.guards[Stream.Stdin]?.data(frame.offset, frame.length);
      if (verdict === 'beyond') throw new ProtocolError(`stdin beyond its window at ${frame.offset}`);
      if (verdict !== 'ok') return;
    }
    relay.peer.send(frame);
  }

  #orphan(session: bigint, attach: Frame | undefined): void {
    this.#stopWaiting(session);
    const timer = setTimeout(() => {
      if (!this.#leaving)
        this.#options.toGuest(lost(session, 'the step that ran this command on the host is gone'));
      this.#forget(session);
    }, ORPHAN_MS);
    timer.unref();
    this.#relays.set(session, { kind: 'orphan', attach, timer });
    if (attach) for (const peer of this.#peers) peer.send(attach);
  }

  #forget(session: bigint): void {
    this.#stopWaiting(session);
    this.#relays.delete(session);
    this.#resumed.delete(session);
    this.#callBytes -= this.#calls.get(session)?.document.length ?? 0;
    this.#calls.delete(session);
    this.#ended.get(session)?.();
    this.#ended.delete(session);
    this.#options.over(session);
  }

  #stopWaiting(session: bigint): void {
    const relay = this.#relays.get(session);
    if (relay?.kind === 'orphan') clearTimeout(relay.timer);
  }
}

function isRefusal(frame: Frame): boolean {
  return frame.type === FrameType.Exit && parseExit(frame).status.kind === 'lost';
}

const NOTHING_SAID = {
  stdinAccepted: 0n,
  streams: [
    { acknowledged: 0n, bytes: NOTHING },
    { acknowledged: 0n, bytes: NOTHING },
  ],
} as const;

function standing({ guards, taken, exit }: RunningRelay): RelayProgress {
  return {
    started: true,
    stdinAccepted: guards[Stream.Stdin]?.acknowledged ?? 0n,
    streams: [
      { acknowledged: taken[0], bytes: NOTHING },
      { acknowledged: taken[1], bytes: NOTHING },
    ],
    ...(exit && { exit }),
  };
}
