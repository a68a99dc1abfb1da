import { randomBytes } from 'node:crypto';

import { GuestLink, type RequestOptions } from '../guest/link.ts';
import type {
  GuestPressure,
  ResizeDocument,
  SetupDocument,
  SetupResult,
} from '../guest/protocol/machine-documents.ts';
import type { KeptOutput } from '../guest/protocol/move-documents.ts';
import type { ExitStatus } from '../guest/protocol/session-payloads.ts';
import type { StartDocument } from '../guest/protocol/start-document.ts';
import { type Captured, CapturePeer } from '../guest/sessions/capture.ts';
import type { MovedState } from '../guest/sessions/moved.ts';
import type { SessionPeer } from '../guest/sessions/peer.ts';
import type { RelayDecision, RelayRequest } from '../guest/sessions/relays.ts';
import { type SessionInfo, SessionRouter } from '../guest/sessions/router.ts';
import type { SayNotStarted, StepOrigin } from '../guest/sessions/step.ts';
import type { Log } from './log.ts';

/** SIGKILL, for sessions whose shim is gone. */
const SIGKILL = 9;
/** How often an agent is asked for a sign of life, at most. */
const PING_EVERY_MS = 10_000;
/** Shims come back to a restarted caddisd within a second or two; a session that nobody has claimed by then has none. */
const UNCLAIMED_AFTER_MS = 20_000;

const PAUSES = {
  flush: { sync: true },
  settle: { freeze: true, sync: true },
  'drop-caches': { freeze: true, dropCaches: true },
  'go-on': {},
} as const;
/** Streams that have not moved for so long have come to rest; what goes through the scheduler's own processes takes longer. */
const QUIET_MS = 20;
const QUIET_RELAYED_MS = 250;
const REST_MS = 3_000;

export interface GuestOptions {
  readonly control: string;
  readonly bulk: string;
  readonly log: Log;
  readonly lostShimGraceMs: number;
  /** Without a sign of life for this long `silent` is called. */
  readonly silentAfterMs: number;
  readonly decideRelay: (request: RelayRequest) => Promise<RelayDecision>;
  /** The scheduler's words for a program that could not be started. */
  readonly sayNotStarted: SayNotStarted | undefined;
  /** Signals that the scheduler means for a step's main process alone. */
  readonly isForMainOnly: ((step: string, signal: number) => boolean) | undefined;
  /** Asked for every signal that reaches a shim: `hold` keeps it until `releaseSignals`. */
  readonly onSignal: (signal: number) => 'pass' | 'hold';
  readonly stepOpened: () => void;
  readonly stepEnded: (session: bigint) => void;
  /** The agent gave no sign of life for too long. */
  readonly silent: (reason: string) => void;
  readonly pressure: (pressure: GuestPressure) => void;
}

/** caddisd's side of one guest: its link, its sessions, and the watch over both. */
export class Guest {
  readonly #link: GuestLink;
  readonly #router: SessionRouter;
  readonly #options: GuestOptions;
  readonly #log: Log;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Sessions of caddisd's own: no steps of the job. */
  readonly #captures = new Set<bigint>();
  #watch: NodeJS.Timeout | undefined;
  #lastSignMs = performance.now();
  #unclaimedSinceMs = new Map<bigint, number>();
  /** Sessions of steps that a client has come for. One that came with the machine is known before that. */
  readonly #open = new Set<bigint>();
  /** The machine stands still: its agent gives no sign of life, and no step of it is to be ended. */
  #asleep = false;
  /** We have stopped the job inside the guest. */
  #pausing = false;

  constructor(options: GuestOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#link = new GuestLink({ controlPath: options.control, bulkPath: options.bulk });
    this.#router = new SessionRouter(this.#link, {
      decideRelay: options.decideRelay,
      sayNotStarted: options.sayNotStarted,
      isForMainOnly: options.isForMainOnly,
      onSignal: (_session, _name, signal) => options.onSignal(signal),
    });
    this.#link.on('up', () => {
      this.#lastSignMs = performance.now();
      this.#link.setClock();
    });
    this.#link.on('down', (reason) => this.#log.warn(`the link to the guest broke: ${reason}`));
    this.#link.on('log', (level, text) =>
      this.#log.log(level === 'error' ? 'warn' : level, `guest: ${text}`),
    );
    this.#link.on('pressure', (pressure) => {
      this.#lastSignMs = performance.now();
      this.#options.pressure(pressure);
      this.#killUnclaimed(pressure);
      // A caddisd that died in the middle of a checkpoint has left the job standing still.
      if (pressure.frozen.byPause && !this.#pausing)
        this.#link.pause({}, { timeoutMs: PING_EVERY_MS }).catch(() => undefined);
    });
    this.#router.on('violation', (text) => this.#log.warn(`the guest broke the protocol: ${text}`));
    this.#router.on('peerGone', (session, pid) => this.#peerGone(session, pid));
    this.#router.on('acknowledged', (session) => {
      if (!this.#captures.delete(session)) this.#ended(session);
    });
    this.#link.open();
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  get steps(): number {
    return this.#router.sessions().length;
  }

  /** Commands of the job that run on the host. */
  get relays(): number {
    return this.#router.stand().relays.length;
  }

  /** Resolves when the agent answers, and begins to watch it. */
  async up(timeoutMs: number, signal: AbortSignal): Promise<void> {
    await this.#link.ready({ timeoutMs, signal });
    this.watch();
  }

  /** Begins to watch for signs of life. */
  watch(): void {
    this.#lastSignMs = performance.now();
    this.#watch ??= setInterval(() => this.#look(), Math.min(PING_EVERY_MS, this.#options.silentAfterMs / 4));
  }

  setup(document: SetupDocument, options: RequestOptions): Promise<SetupResult> {
    return this.#link.setup(document, options);
  }

  resize(document: ResizeDocument, options: RequestOptions): Promise<SetupResult> {
    return this.#link.resize(document, options);
  }

  /** The machine is about to stand still. */
  asleep(): void {
    this.#asleep = true;
  }

  /**
   * The machine is about to go on: the time waits in its port, so that the agent hears of it before the job's processes do much. It makes them wait for NFS servers that
   * have forgotten the machine meanwhile.
   */
  awaking(): void {
    this.#link.setClock();
  }

  /** The machine goes on; its clock has stood still. */
  awake(): void {
    this.#asleep = false;
    this.#lastSignMs = performance.now();
    this.#link.setClock();
  }

  /** What a machine is told that was restored: the time, and randomness of its own. */
  wake(options: RequestOptions): Promise<SetupResult> {
    return this.#link.wake(
      { clockNs: BigInt(Date.now()) * 1_000_000n, seed: randomBytes(32), hosts: undefined },
      options,
    );
  }

  /** The job may run on for so long without another word. */
  lease(milliseconds: number): void {
    this.#link.lease(milliseconds);
  }

  /** What the job's user must know, as a line in the stderr of its steps. */
  note(text: string): void {
    this.#link.note(text);
  }

  /** Sends a signal to the processes of all steps. */
  signal(number: number): void {
    this.#router.killAll(number);
  }

  /** Signals that were held are handed on, or forgotten. */
  releaseSignals(deliver: boolean): void {
    this.#router.releaseSignals(deliver);
  }

  /** To every process of every step. */
  signalSteps(signal: number): void {
    this.#router.killAll(signal);
  }

  sessions(): readonly SessionInfo[] {
    return this.#router.sessions();
  }

  /** How the job's main process has ended by itself, if it has. */
  get mainExit(): ExitStatus | undefined {
    return this.#router.mainExit;
  }

  /** Stops the job inside the guest with nothing unwritten, or lets it go on; `flush` only writes, while it runs. */
  pause(what: keyof typeof PAUSES, options: RequestOptions): Promise<SetupResult> {
    if (what !== 'flush') this.#pausing = what !== 'go-on';
    return this.#link.pause(PAUSES[what], options);
  }

  /** How the sessions of a job that stands still inside the guest stand; undefined when they do not come to rest. */
  async stand(): Promise<MovedState | undefined> {
    const settled = await this.#router.settle(this.relays > 0 ? QUIET_RELAYED_MS : QUIET_MS, REST_MS);
    return settled ? this.#router.stand() : undefined;
  }

  /** Asks the shims of a frozen machine, which goes on elsewhere; what they and the relayed commands have done by now. Once. */
  move(exitStatus: number): Promise<MovedState> {
    return this.#router.move({ exitStatus });
  }

  /** What `move` gave is on disk: its shims end, with their commands. */
  letGo(): void {
    this.#router.letGo();
  }

  /** The sessions with which a restored machine comes: before its link is up. */
  resume(state: MovedState): void {
    this.#router.resume(state);
  }

  /** A shim whose step goes on from a checkpoint. */
  resumeStep(id: bigint, name: string, peer: SessionPeer, kept: readonly KeptOutput[]): void {
    this.#router.attachResumed(id, name, peer, kept);
    this.#begun(id);
  }

  openStep(id: bigint, name: string, start: StartDocument, peer: SessionPeer, origin: StepOrigin): void {
    this.#router.open(id, name, start, peer, origin);
    this.#begun(id);
  }

  /** A shim that was connected to an earlier caddisd, or lost its connection. */
  attachStep(id: bigint, name: string, peer: SessionPeer): void {
    this.#router.attach(id, peer, name);
    this.#unclaimedSinceMs.delete(id);
    this.#begun(id);
  }

  /** Runs a program for caddisd itself, beside the job's steps and not counted as one. Rejects at the deadline and above `maxBytes` of output. */
  async capture(
    start: StartDocument,
    options: { readonly maxBytes: number; readonly timeoutMs: number },
  ): Promise<Captured> {
    // Bit 63 is the guest's; 0 means "none yet".
    const id = (randomBytes(8).readBigUInt64LE() & ((1n << 63n) - 1n)) | 1n;
    const peer = new CapturePeer(id, options.maxBytes);
    this.#captures.add(id);
    const timer = setTimeout(
      () => peer.close(`no answer from the job's machine within ${options.timeoutMs / 1000} s`),
      options.timeoutMs,
    );
    try {
      this.#router.open(id, 'capture', start, peer);
      return await peer.done;
    } catch (error) {
      this.#router.kill(id, SIGKILL);
      this.#router.discard(id);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends every shim with this reason: the machine is gone or going. */
  endAll(reason: string): void {
    this.#router.close(`caddis: ${reason}`);
  }

  /** Hears nothing of its guest any more, which goes on having somebody to talk to: to be followed by `close`. */
  deafen(): void {
    clearInterval(this.#watch);
    this.#link.deafen();
  }

  close(): void {
    clearInterval(this.#watch);
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#link.close();
  }

  #begun(session: bigint): void {
    if (this.#open.has(session)) return;
    this.#open.add(session);
    this.#options.stepOpened();
  }

  #ended(session: bigint): void {
    if (this.#open.delete(session)) this.#options.stepEnded(session);
  }

  /** A shim that was killed takes its step with it, as the scheduler means it; one that only lost its connection comes back. */
  #peerGone(session: bigint, pid: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      const info = this.#router.sessions().find((entry) => entry.session === session);
      if (!info || info.peerPid !== undefined || this.#asleep) return;
      this.#log.info(`the shim ${pid} of step ${info.name || session} is gone: ending the step`);
      this.#router.kill(session, SIGKILL);
      this.#router.discard(session);
    }, this.#options.lostShimGraceMs);
    this.#timers.add(timer);
  }

  /** Sessions that run in the guest and that no shim has claimed since caddisd started: theirs were killed while no caddisd ran. */
  #killUnclaimed(pressure: GuestPressure): void {
    const known = new Set(this.#router.sessions().map(({ session }) => session));
    const now = performance.now();
    const unclaimed = new Map<bigint, number>();
    for (const { session } of pressure.sessions) {
      if (known.has(session)) continue;
      const since = this.#unclaimedSinceMs.get(session) ?? now;
      if (now - since < UNCLAIMED_AFTER_MS) {
        unclaimed.set(session, since);
        continue;
      }
      this.#log.info(`session ${session} has no shim: ending it`);
      this.#router.kill(session, SIGKILL);
      this.#router.discard(session);
    }
    this.#unclaimedSinceMs = unclaimed;
  }

  #look(): void {
    const { silentAfterMs } = this.#options;
    if (this.#asleep) return;
    if (performance.now() - this.#lastSignMs > silentAfterMs) {
      clearInterval(this.#watch);
      this.#options.silent(
        `the guest's agent gave no sign of life for ${silentAfterMs / 1000} s (vm.agent_timeout)`,
      );
      return;
    }
    if (!this.#link.isUp) return;
    this.#link.ping({ timeoutMs: silentAfterMs }).then(
      () => {
        this.#lastSignMs = performance.now();
      },
      () => undefined,
    );
  }
}
