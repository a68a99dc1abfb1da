import { setTimeout as setTimeoutAsync } from 'node:timers/promises';

import { messageOf } from '../../model/errors.ts';
import { DocumentAssembler, documentFrames } from '../protocol/document-frames.ts';
import { type Frame, frameOf } from '../protocol/frame.ts';
import { type OpenDocument, parseOpen } from '../protocol/open-document.ts';
import { encodeExit } from '../protocol/session-payloads.ts';
import { encodeStart, type StartDocument } from '../protocol/start-document.ts';
import { u64s } from '../protocol/tlv.ts';
import { AttachedState, FrameType, ProtocolError, Stream, WINDOW_BYTES } from '../protocol/types.ts';
import type { SessionPeer } from './peer.ts';
import { StreamGuard } from './stream-guard.ts';
import { TextProcess } from './text-process.ts';

/** A command that was called inside the job. */
export interface RelayRequest {
  /** The step it was called in, as the guest says; 0: unknown. */
  readonly parent: bigint;
  /** argv, environment, directory, terminal as the guest's stub saw them. Its uid and gid are the guest's word. */
  readonly call: OpenDocument;
  /** Pid of the shim that would run it. */
  readonly peerPid: number;
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
/** Frames of output held back at a time: windows full of small ones. */
const MOST_EARLY = 4096;

type Relay =
  /** `killed`: its caller in the guest died meanwhile, so that it must not be started. */
  | { readonly kind: 'deciding'; killed: boolean }
  | { readonly kind: 'refused'; readonly text: TextProcess }
  | {
      readonly kind: 'running';
      readonly peer: SessionPeer;
      readonly guards: Record<number, StreamGuard>;
      attached: boolean;
      /** Output behind an OPENED or ATTACHED that the guest may not have seen yet: it comes through the other port. */
      early: { frames: Frame[]; bytes: number } | undefined;
    }
  /** Nobody here knows it (caddisd was restarted): all shims are asked with the stub's ATTACH. */
  | { readonly kind: 'orphan'; readonly attach: Frame | undefined; readonly timer: NodeJS.Timeout };

export interface RelaysOptions {
  readonly decide: (request: RelayRequest) => Promise<RelayDecision>;
  readonly toGuest: (frame: Frame) => void;
  /** Resolves when the guest has taken all that was sent through the control port. */
  readonly fence: () => Promise<unknown>;
  /** The shim of this step. */
  readonly parentPeer: (parent: bigint) => SessionPeer | undefined;
  /** Any shim: for a caller whose step has none. */
  readonly anyPeer: () => SessionPeer | undefined;
}

/** The relayed commands of one machine: stdio in the guest, process beside the parent's shim on the host. */
export class Relays {
  readonly #options: RelaysOptions;
  readonly #relays = new Map<bigint, Relay>();
  readonly #peers = new Set<SessionPeer>();
  /** What to tell when a command is over. */
  readonly #ended = new Map<bigint, () => void>();
  #documents = new DocumentAssembler();

  constructor(options: RelaysOptions) {
    this.#options = options;
  }

  linkUp(): void {
    this.#documents = new DocumentAssembler();
  }

  linkDown(): void {
    for (const [session, relay] of this.#relays) {
      if (relay.kind !== 'running' || !relay.attached) continue;
      relay.attached = false;
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
    for (const [session, relay] of this.#relays)
      if (relay.kind === 'running' && relay.peer === peer) this.#orphan(session, undefined);
  }

  close(): void {
    for (const session of [...this.#relays.keys()]) this.#forget(session);
  }

  /** Throws ProtocolError for what the guest may not send. */
  fromGuest(frame: Frame): void {
    const { session } = frame;
    if (frame.type === FrameType.Open) {
      const document = this.#documents.take(frame);
      if (document) this.#open(session, document);
      return;
    }
    const relay = this.#relays.get(session);
    if (!relay) {
      if (frame.type === FrameType.Attach && this.#relays.size < MOST_RELAYS) this.#orphan(session, frame);
      return;
    }
    if (relay.kind === 'deciding') {
      relay.killed ||= frame.type === FrameType.Signal && frame.offset === SIGKILL;
    } else if (relay.kind === 'refused') {
      if (relay.text.take(frame)) this.#relays.delete(session);
    } else if (relay.kind === 'running') this.#toPeer(relay, frame);
    else if (relay.kind === 'orphan' && frame.type === FrameType.Attach) this.#orphan(session, frame);
    if (frame.type === FrameType.ExitAck) this.#forget(session);
  }

  /** A frame of the process side. */
  fromPeer(peer: SessionPeer, frame: Frame): void {
    const relay = this.#relays.get(frame.session);
    if (relay?.kind === 'orphan' && frame.type === FrameType.Attached) {
      if (frame.flags === AttachedState.Unknown) return;
      clearTimeout(relay.timer);
      const running = newRunning(peer);
      // Whatever the offsets were agreed to be: the first bytes show it.
      this.#relays.set(frame.session, running);
      this.#answer(running, frame);
      return;
    }
    if (relay?.kind !== 'running' || relay.peer !== peer || !relay.attached) return;
    if (frame.type === FrameType.Ack) relay.guards[Stream.Stdin]?.acknowledge(frame.offset);
    if (frame.type === FrameType.Opened || frame.type === FrameType.Attached) this.#answer(relay, frame);
    else if (relay.early && (frame.type === FrameType.Data || frame.type === FrameType.Eof)) {
      relay.early.frames.push(frame);
      relay.early.bytes += frame.length;
      if (relay.early.bytes > 2 * WINDOW_BYTES || relay.early.frames.length > MOST_EARLY)
        throw new ProtocolError('a relayed command sent more output than its windows allow');
    } else this.#options.toGuest(frame);
  }

  /** Sends OPENED or ATTACHED, and what follows it on the bulk port only when the guest has seen it. */
  #answer(relay: Relay & { kind: 'running' }, frame: Frame): void {
    const early = relay.early ?? { frames: [], bytes: 0 };
    relay.early = early;
    this.#options.toGuest(frame);
    this.#options.fence().then(
      () => {
        if (relay.early !== early) return;
        relay.early = undefined;
        for (const held of early.frames) this.#options.toGuest(held);
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
    const call = parseOpen(document);
    const parent = call.parent ?? 0n;
    const deciding = { kind: 'deciding' as const, killed: false };
    this.#relays.set(session, deciding);
    const decide = async () => {
      const peer = await this.#peerFor(parent);
      if (!peer) return { decision: { refuse: NO_PEER, exitCode: 1 } } as const;
      return { peer, decision: await this.#options.decide({ parent, call, peerPid: peer.pid }) };
    };
    decide()
      .then(({ peer, decision }) => {
        if ('allow' in decision && decision.ended) this.#ended.set(session, decision.ended);
        if (this.#relays.get(session) !== deciding || deciding.killed) this.#forget(session);
        else if ('allow' in decision) this.#run(session, peer as SessionPeer, decision.allow);
        else this.#refuse(session, decision.refuse, decision.exitCode);
      })
      .catch((error: unknown) => this.#refuse(session, `caddis: ${messageOf(error)}`, 1));
  }

  /** The shim of the caller's step; after a restart of caddisd the guest is here before the shims are. */
  async #peerFor(parent: bigint): Promise<SessionPeer | undefined> {
    const deadline = performance.now() + PEER_WAIT_MS;
    for (;;) {
      const peer = this.#options.parentPeer(parent);
      if (peer || performance.now() > deadline) return peer ?? this.#options.anyPeer();
      await setTimeoutAsync(PEER_EVERY_MS);
    }
  }

  #run(session: bigint, peer: SessionPeer, start: StartDocument): void {
    if (!this.#peers.has(peer)) {
      this.#forget(session);
      this.#refuse(session, 'caddis: the step that called the command is gone', 1);
      return;
    }
    this.#relays.set(session, newRunning(peer));
    for (const frame of documentFrames(FrameType.Open, session, encodeStart(start))) peer.send(frame);
  }

  #refuse(session: bigint, message: string, exitCode: number): void {
    const text = new TextProcess(session, this.#options.toGuest);
    this.#relays.set(session, { kind: 'refused', text });
    text.write(Stream.Stderr, message.endsWith('\n') ? message : `${message}\n`);
    text.exit({ kind: 'exited', code: exitCode });
  }

  #toPeer(relay: Relay & { kind: 'running' }, frame: Frame): void {
    if (frame.type === FrameType.Attach) relay.attached = true;
    else if (!relay.attached) return;
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
      this.#forget(session);
      this.#options.toGuest(lost(session, 'the step that ran this command on the host is gone'));
    }, ORPHAN_MS);
    timer.unref();
    this.#relays.set(session, { kind: 'orphan', attach, timer });
    if (attach) for (const peer of this.#peers) peer.send(attach);
  }

  #forget(session: bigint): void {
    this.#stopWaiting(session);
    this.#relays.delete(session);
    this.#ended.get(session)?.();
    this.#ended.delete(session);
  }

  #stopWaiting(session: bigint): void {
    const relay = this.#relays.get(session);
    if (relay?.kind === 'orphan') clearTimeout(relay.timer);
  }
}

function newRunning(peer: SessionPeer): Relay & { kind: 'running' } {
  return {
    kind: 'running',
    peer,
    guards: { [Stream.Stdin]: new StreamGuard() },
    attached: true,
    early: undefined,
  };
}

function lost(session: bigint, message: string): Frame {
  return encodeExit(session, { status: { kind: 'lost', message }, stdoutEnd: 0n, stderrEnd: 0n });
}
