import { EventEmitter, once } from 'node:events';

import { LinkPort } from './link/port.ts';
import { Requests } from './link/requests.ts';
import { documentFrames } from './protocol/document-frames.ts';
import { type Frame, frameOf, payloadOf } from './protocol/frame.ts';
import { newGeneration, Port, type PortNumber } from './protocol/hello.ts';
import {
  encodeResize,
  encodeSetup,
  encodeWake,
  type GuestPressure,
  parsePressure,
  type ResizeDocument,
  type SetupDocument,
  type SetupResult,
  type WakeDocument,
} from './protocol/machine-documents.ts';
import { FrameType, LogLevels, PauseFlag, ProtocolError } from './protocol/types.ts';

type GuestLogLevel = (typeof LogLevels)[number];

export interface GuestLinkEvents {
  /** Both ports answered: sessions may be attached. */
  up: [generation: number];
  /** The link broke; it reconnects by itself. Only between two `up`. */
  down: [reason: string];
  /** A session frame (OPEN and above). */
  frame: [frame: Frame];
  pressure: [pressure: GuestPressure];
  log: [level: GuestLogLevel, text: string];
  /** Each failed attempt to connect or broken connection, for the log. */
  broken: [reason: string];
  /** After `send` said false. */
  drain: [];
}

/** What a session router needs of a link: tests put a fake in its place. */
export interface SessionLink {
  readonly isUp: boolean;
  /** False: congested, pause and wait for `drain`. Dropped while the link is down. */
  send(frame: Frame): boolean;
  /** Rejects when the link breaks. */
  ping(options: RequestOptions): Promise<number>;
  /** Breaks the link because the guest broke the protocol; it comes up again with a new generation. */
  reset(reason: string): void;
  on<K extends 'up' | 'down' | 'frame' | 'drain'>(
    event: K,
    listener: (...args: GuestLinkEvents[K]) => void,
  ): unknown;
}

export interface RequestOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** What a guest does while its machine is saved or copied; nothing at all: its job goes on. */
export interface PauseFlags {
  /** Freeze the job's processes, and wait for it: at most 2 s. */
  readonly freeze?: boolean;
  /** Write the scratch disk's file system out. */
  readonly sync?: boolean;
  /** Give up clean caches, which an older image would have wrong. */
  readonly dropCaches?: boolean;
}

/** Reconnects are cheap (3-5 ms, facts/vm.md): begin quickly, and do not spin when QEMU is gone or a guest misbehaves. */
const BACKOFF_FIRST_MS = 10;
const BACKOFF_MOST_MS = 1000;
/**
 * A guest that says nothing for so long is connected to anew. QEMU hears nothing of a socket that is closed while its machine stands still, and what the guest writes before another one is there
 * stops that port for good: only a socket that is closed while the machine runs frees it (hw/char/virtio-console.c: throttled without a watch). Doubles, since a guest that boots is silent too.
 */
const SILENT_FIRST_MS = 3000;
const SILENT_MOST_MS = 12_000;
/** A link that held this long was sound: the next break is retried at once again. */
const SOUND_AFTER_MS = 5000;
/** Session frames that may come between the two ports' echoes: an ATTACH or two for each relayed command. */
const MOST_EARLY_FRAMES = 2048;
/** Log lines that a guest may send per second. */
const LOGS_PER_SECOND = 100;
const LOG_MAX_BYTES = 2048;

/** The link to one guest: both ports, re-established until `close`. */
export class GuestLink extends EventEmitter<GuestLinkEvents> implements SessionLink {
  readonly #paths: Readonly<Record<PortNumber, string>>;
  readonly #requests = new Requests();
  #ports: Record<PortNumber, LinkPort> | undefined;
  #ready = new Set<PortNumber>();
  /** Session frames that came between the two ports' echoes. */
  #early: Frame[] = [];
  #up = false;
  #upSinceMs = 0;
  #backoffMs = BACKOFF_FIRST_MS;
  #retry: NodeJS.Timeout | undefined;
  #silence: NodeJS.Timeout | undefined;
  readonly #silentFirstMs: number;
  #silentMs: number;
  #closed = false;
  #generation = 0;
  #logSecond = 0;
  #logCount = 0;

  /** `controlPath`, `bulkPath`: the unix sockets on which QEMU listens for the two ports. Nothing happens before `open`. */
  constructor(options: {
    readonly controlPath: string;
    readonly bulkPath: string;
    /** For tests. */
    readonly silentMs?: number;
  }) {
    super();
    this.#silentFirstMs = this.#silentMs = options.silentMs ?? SILENT_FIRST_MS;
    this.#paths = { [Port.Control]: options.controlPath, [Port.Bulk]: options.bulkPath };
  }

  get isUp(): boolean {
    return this.#up;
  }

  open(): void {
    if (!this.#closed && !this.#ports) this.#connect();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#drop('closed');
    this.#requests.failAll(new Error('the link to the guest was closed'));
  }

  /** Takes nothing in any more, and does not reconnect: to be followed by `close`. */
  deafen(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#silence);
    if (this.#ports) for (const port of Object.values(this.#ports)) port.deafen();
  }

  /** Resolves when the link is up. Rejects with the last reason when it is not within `timeoutMs`. */
  async ready({ timeoutMs, signal }: RequestOptions): Promise<void> {
    if (this.#up) return;
    let last = 'no answer from the guest';
    const note = (reason: string) => {
      last = reason;
    };
    const timeout = AbortSignal.timeout(timeoutMs);
    this.on('broken', note);
    try {
      await once(this, 'up', { signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
    } catch (error) {
      signal?.throwIfAborted();
      throw new Error(`the guest's agent did not answer within ${timeoutMs} ms: ${last}`, { cause: error });
    } finally {
      this.off('broken', note);
    }
  }

  send(frame: Frame): boolean {
    if (!this.#ports || !this.#up) return true;
    return this.#ports[portOf(frame.type)].sendFrame(frame);
  }

  reset(reason: string): void {
    if (this.#ports) this.#broke(new ProtocolError(reason));
  }

  /** Prepares the machine for its job. Rejects with the guest's message, after `timeoutMs`, or when the link breaks meanwhile. */
  setup(document: SetupDocument, options: RequestOptions): Promise<SetupResult> {
    return this.#ask(FrameType.Setup, encodeSetup(document), options);
  }

  /** Brings plugged CPUs and memory into use. Rejects as `setup` does. */
  resize(document: ResizeDocument, options: RequestOptions): Promise<SetupResult> {
    return this.#ask(FrameType.Resize, encodeResize(document), options);
  }

  /**
   * Stops the job, or with no flag lets it go on. Rejects as `setup` does; what a PAUSE that failed had frozen goes on. A newer one takes the place of one that
   * is not done: that one rejects.
   */
  pause(flags: PauseFlags, options: RequestOptions): Promise<SetupResult> {
    const { id, answer } = this.#requests.setup(options);
    const bits =
      (flags.freeze ? PauseFlag.Freeze : 0) |
      (flags.sync ? PauseFlag.Sync : 0) |
      (flags.dropCaches ? PauseFlag.Drop : 0);
    this.#sendNow(frameOf({ type: FrameType.Pause, session: id, flags: bits }));
    return answer;
  }

  /** Tells a restored machine where it is. Rejects as `setup` does. */
  wake(document: WakeDocument, options: RequestOptions): Promise<SetupResult> {
    return this.#ask(FrameType.Wake, encodeWake(document), options);
  }

  /** Lets the job run for `ms` from now: without another lease the guest freezes it then. 0 ends leasing. */
  lease(ms: number): void {
    this.#sendNow(frameOf({ type: FrameType.Lease, offset: BigInt(ms) }));
  }

  /** Says one line on the stderr of every step that runs. */
  note(text: string): void {
    this.#sendNow(frameOf({ type: FrameType.Note, payload: Buffer.from(text, 'utf8') }));
  }

  /** Round trip over the control port, in milliseconds. */
  async ping(options: RequestOptions): Promise<number> {
    const began = performance.now();
    const { id, answer } = this.#requests.ping(options);
    this.#sendNow(frameOf({ type: FrameType.Ping, offset: id }));
    await answer;
    return performance.now() - began;
  }

  /** Sets the guest's real-time clock; default is the host's. */
  setClock(nanoseconds: bigint = BigInt(Date.now()) * 1_000_000n): void {
    this.#sendNow(frameOf({ type: FrameType.Clock, offset: nanoseconds }));
  }

  /** Asks the guest to end: kill the sessions, sync, power off. */
  powerOff(): void {
    this.#sendNow(frameOf({ type: FrameType.PowerOff }));
  }

  #ask(type: number, document: Buffer, options: RequestOptions): Promise<SetupResult> {
    const { id, answer } = this.#requests.setup(options);
    for (const frame of documentFrames(type, id, document)) this.#sendNow(frame);
    return answer;
  }

  #sendNow(frame: Frame): void {
    this.#ports?.[Port.Control].sendFrame(frame);
  }

  #connect(): void {
    const generation = newGeneration();
    this.#generation = generation;
    this.#ready = new Set();
    this.#early = [];
    const port = (number: PortNumber) =>
      new LinkPort(this.#paths[number], number, generation, {
        ready: () => this.#portReady(number),
        frame: (frame) => this.#take(number, frame),
        broken: (reason) => this.#broke(reason),
        drained: () => this.emit('drain'),
      });
    this.#ports = { [Port.Control]: port(Port.Control), [Port.Bulk]: port(Port.Bulk) };
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#broke(new Error('no answer from the guest')), this.#silentMs);
    this.#silentMs = Math.min(2 * this.#silentMs, SILENT_MOST_MS);
  }

  #portReady(number: PortNumber): void {
    this.#ready.add(number);
    if (this.#up || this.#ready.size < 2) return;
    this.#up = true;
    clearTimeout(this.#silence);
    this.#silentMs = this.#silentFirstMs;
    this.#upSinceMs = performance.now();
    this.emit('up', this.#generation);
    for (const frame of this.#early.splice(0)) this.emit('frame', frame);
  }

  #broke(reason: Error): void {
    this.#drop(reason.message);
    if (this.#closed) return;
    this.emit('broken', reason.message);
    if (performance.now() - this.#upSinceMs > SOUND_AFTER_MS && this.#upSinceMs > 0)
      this.#backoffMs = BACKOFF_FIRST_MS;
    this.#upSinceMs = 0;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), this.#backoffMs);
    this.#backoffMs = Math.min(2 * this.#backoffMs, BACKOFF_MOST_MS);
  }

  /** Both ports go together: a generation is of both or of none. */
  #drop(reason: string): void {
    clearTimeout(this.#silence);
    if (this.#ports) for (const port of Object.values(this.#ports)) port.close();
    this.#ports = undefined;
    if (!this.#up) return;
    this.#up = false;
    this.#requests.failAll(new Error(`the link to the guest broke: ${reason}`));
    this.emit('down', reason);
  }

  #take(number: PortNumber, frame: Frame): void {
    if (frame.type >= FrameType.Open) {
      if (portOf(frame.type) !== number)
        throw new ProtocolError(`frame type ${frame.type} came on port ${number}`);
      if (this.#up) this.emit('frame', frame);
      // One port's echo comes first: what the guest says behind it must not be lost, it is not said again.
      else if (this.#early.length < MOST_EARLY_FRAMES) this.#early.push(frame);
      else throw new ProtocolError('too many session frames before both ports had answered');
      return;
    }
    if (number !== Port.Control)
      throw new ProtocolError(`frame type ${frame.type} came on the bulk port, expected session data`);
    switch (frame.type) {
      case FrameType.SetupDone:
        this.#requests.setupDone(frame);
        break;
      case FrameType.Pong:
        this.#requests.pong(frame.offset);
        break;
      case FrameType.Pressure:
        this.emit('pressure', parsePressure(payloadOf(frame)));
        break;
      case FrameType.Log:
        this.#log(frame);
        break;
      default:
        throw new ProtocolError(`frame type ${frame.type} is not for a guest to send`);
    }
  }

  #log(frame: Frame): void {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#logSecond) {
      if (this.#logCount > LOGS_PER_SECOND)
        this.emit('log', 'warn', `${this.#logCount - LOGS_PER_SECOND} log lines of the guest were left out`);
      this.#logSecond = second;
      this.#logCount = 0;
    }
    this.#logCount += 1;
    if (this.#logCount > LOGS_PER_SECOND) return;
    const text = payloadOf(frame).subarray(0, LOG_MAX_BYTES).toString('utf8');
    // A guest's text goes into the host's log: one line, no escape sequences.
    this.emit('log', LogLevels[frame.flags] ?? 'info', text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim());
  }
}

function portOf(type: number): PortNumber {
  return type === FrameType.Data || type === FrameType.Eof ? Port.Bulk : Port.Control;
}
