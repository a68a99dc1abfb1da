import { setTimeout as setTimeoutAsync } from 'node:timers/promises';

import type { Frame } from '../protocol/frame.ts';
import { parseExit } from '../protocol/session-payloads.ts';
import { FrameType } from '../protocol/types.ts';
import { Gathering } from './gather.ts';
import type { MovedRelay } from './moved.ts';
import type { SessionPeer } from './peer.ts';
import { noteTaken, type Relay, type RelayCall, type RunningRelay } from './relay-state.ts';
import type { RelayProgress, ResumedRelay } from './resumed-relay.ts';

const NOTHING = Buffer.alloc(0);
const NO_OUTPUT = [
  { acknowledged: 0n, bytes: NOTHING },
  { acknowledged: 0n, bytes: NOTHING },
] as const;

export interface LeavingRelaysOptions {
  readonly relays: ReadonlyMap<bigint, Relay>;
  readonly calls: ReadonlyMap<bigint, RelayCall>;
  readonly resumed: ReadonlyMap<bigint, ResumedRelay>;
  readonly isThere: (peer: SessionPeer) => boolean;
  /** The guest has taken its end. */
  readonly over: (session: bigint) => void;
}

/** The relayed commands of a machine that is frozen and goes on elsewhere: nothing passes to or from it, and what they have to say is collected. */
export class LeavingRelays {
  readonly #options: LeavingRelaysOptions;
  readonly #cut = new Set<bigint>();
  readonly #gatherings = new Map<bigint, Gathering>();
  #lastOutputMs = 0;

  constructor(options: LeavingRelaysOptions) {
    this.#options = options;
  }

  /** Resolves when no command has said anything for `quietMs`, after `boundMs` at the latest, and at once when none runs. */
  async quiet(quietMs: number, boundMs: number): Promise<void> {
    const deadline = performance.now() + boundMs;
    this.#lastOutputMs = performance.now();
    while ([...this.#options.relays.values()].some(({ kind }) => kind === 'running')) {
      const left = Math.min(this.#lastOutputMs + quietMs, deadline) - performance.now();
      if (left <= 0) return;
      await setTimeoutAsync(left);
    }
  }

  /** The steps of these commands are about to be taken away from them: how they end says nothing from now on. */
  cut(sessions: Iterable<bigint>): void {
    for (const session of sessions) this.#cut.add(session);
  }

  /** What the commands need in order to go on elsewhere. One that nobody knows the state of is not among them: it is lost. */
  async gather(timeoutMs: number): Promise<MovedRelay[]> {
    const { relays, calls, resumed } = this.#options;
    const all = [...relays].map(async ([session, relay]): Promise<MovedRelay | undefined> => {
      const progress = await this.#progress(session, relay, timeoutMs);
      const { parent, document: call } = calls.get(session) ?? { parent: 0n, document: NOTHING };
      if (!progress) return undefined;
      return { session, parent, call, ...(resumed.get(session)?.moved(progress) ?? progress) };
    });
    return (await Promise.all(all)).filter((relay) => relay !== undefined);
  }

  /** What the guest had said before it stood still counts. Throws ProtocolError. */
  fromGuest(sent: Frame): void {
    const { session, type } = sent;
    if (type === FrameType.ExitAck) this.#options.over(session);
    if (type !== FrameType.Ack) return;
    const relay = this.#options.relays.get(session);
    const resumed = this.#options.resumed.get(session);
    const frame = resumed ? resumed.fromGuest(sent) : sent;
    if (!frame) return;
    if (relay?.kind === 'running') noteTaken(relay, frame);
    else if (relay?.kind === 'refused') relay.text.take(frame);
  }

  /** Throws ProtocolError. */
  fromPeer(peer: SessionPeer, frame: Frame): void {
    const { session, type } = frame;
    const relay = this.#options.relays.get(session);
    if (relay?.kind !== 'running' || relay.peer !== peer) return;
    if (type === FrameType.Data) this.#lastOutputMs = performance.now();
    const gathering = this.#gatherings.get(session);
    if (gathering) gathering.take(frame);
    else if (type === FrameType.Exit && !this.#cut.has(session)) relay.exit ??= parseExit(frame).status;
  }

  async #progress(session: bigint, relay: Relay, timeoutMs: number): Promise<RelayProgress | undefined> {
    switch (relay.kind) {
      case 'waiting':
      case 'deciding':
        return relay.killed ? undefined : { started: relay.again, stdinAccepted: 0n, streams: NO_OUTPUT };
      case 'refused': {
        const { streams, status } = relay.text.rest;
        return { started: true, stdinAccepted: 0n, streams, ...(status && { exit: status }) };
      }
      case 'running':
        return this.#gather(session, relay, timeoutMs);
      case 'orphan':
        return undefined;
    }
  }

  async #gather(session: bigint, relay: RunningRelay, timeoutMs: number): Promise<RelayProgress | undefined> {
    if (!this.#options.isThere(relay.peer)) return undefined;
    const gathering = new Gathering(session, relay, (frame) => relay.peer.send(frame));
    this.#gatherings.set(session, gathering);
    const progress = await gathering.run(timeoutMs);
    if (!progress || relay.exit || !this.#cut.has(session)) return progress;
    const { exit: _, ...running } = progress;
    return running;
  }
}
