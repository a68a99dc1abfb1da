import { CallTimeout, ConnectionLost, decodeError, ProtocolError, QueueFull } from './errors.ts';
import { type Packet, packetBodyMaxBytes, packetStatus } from './packets.ts';
import type { Procedure } from './procedures.ts';
import type { CallOptions } from './rpc.ts';
import { Decoder, type Encoder } from './xdr.ts';

export interface CallLimits {
  /** Default 4: libvirtd stops reading a client that has 5 calls running, keepalives included (max_client_requests). */
  readonly maxInFlight?: number;
  /** Calls that may wait for a slot, default 256; more reject with QueueFull. */
  readonly maxQueued?: number;
  /** Default 30,000. */
  readonly defaultTimeoutMs?: number;
}

interface Call {
  readonly procedure: Procedure;
  readonly body: Buffer;
  readonly accept: (from: Decoder) => void;
  readonly reject: (error: unknown) => void;
  /** Nobody waits any more; in flight, the call keeps its slot until the daemon answers, since it occupies the daemon as long. */
  settled: boolean;
  serial: number;
}

/** Longest delay of a Node timer; beyond it setTimeout fires at once. */
const timerMaxMs = 2 ** 31 - 1;

/** The calls of one connection: serial numbers, slots, waiting line, deadlines. Knows nothing of sockets. */
export class Calls {
  readonly #send: (procedure: Procedure, serial: number, body: Buffer) => void;
  /** Told when every slot is held by a call that was given up and yet another call starved behind them: the daemon is stuck. */
  readonly #onStuck: (error: Error) => void;
  readonly #maxInFlight: number;
  readonly #maxQueued: number;
  readonly #defaultTimeoutMs: number;
  readonly #inFlight = new Map<number, Call>();
  readonly #waiting = new Set<Call>();
  #lastSerial = 0;
  #ended: Error | undefined;

  constructor(
    limits: CallLimits,
    actions: {
      readonly send: (procedure: Procedure, serial: number, body: Buffer) => void;
      readonly onStuck: (error: Error) => void;
    },
  ) {
    this.#send = actions.send;
    this.#onStuck = actions.onStuck;
    this.#maxInFlight = limits.maxInFlight ?? 4;
    this.#maxQueued = limits.maxQueued ?? 256;
    this.#defaultTimeoutMs = limits.defaultTimeoutMs ?? 30_000;
  }

  /** Slots taken, by calls that were given up too. */
  get inFlightCount(): number {
    return this.#inFlight.size;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  start<T>(
    procedure: Procedure,
    args: Encoder,
    decode: (from: Decoder) => T,
    options: CallOptions = {},
  ): Promise<T> {
    const { signal, timeoutMs = this.#defaultTimeoutMs } = options;
    return new Promise<T>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#ended) throw new ConnectionLost(this.#ended.message, { cause: this.#ended, sent: false });
      if (this.#waiting.size >= this.#maxQueued)
        throw new QueueFull(`${procedure.name}: ${this.#waiting.size} calls already wait for libvirt`);
      const body = args.finish();
      if (body.length > packetBodyMaxBytes)
        throw new RangeError(
          `${procedure.name}: libvirt takes arguments of at most ${packetBodyMaxBytes} bytes, got ${body.length}`,
        );
      const finish = (settle: () => void): void => {
        if (call.settled) return;
        call.settled = true;
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#waiting.delete(call);
        settle();
      };
      const call: Call = {
        procedure,
        body,
        accept: (from) => {
          const value = decode(from);
          finish(() => resolve(value));
        },
        reject: (error) => finish(() => reject(error)),
        settled: false,
        serial: 0,
      };
      const onAbort = (): void => call.reject(signal?.reason);
      const timer = setTimeout(() => this.#expire(call, timeoutMs), Math.min(timeoutMs, timerMaxMs));
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(call);
      this.#fill();
    });
  }

  /** Takes a reply. Throws ProtocolError or XdrError when it cannot be one; the connection must then be given up. */
  answer(packet: Packet): void {
    const call = this.#inFlight.get(packet.serial);
    if (!call)
      throw new ProtocolError(`expected a reply to a call in flight, got one to serial ${packet.serial}`);
    const { procedure } = call;
    if (packet.program !== procedure.program || packet.procedure !== procedure.number)
      throw new ProtocolError(
        `expected a reply to ${procedure.name} (${procedure.number}), got one of procedure ${packet.procedure}`,
      );
    const body = new Decoder(packet.body);
    if (packet.status === packetStatus.error) call.reject(decodeError(body));
    else if (packet.status !== packetStatus.ok)
      throw new ProtocolError(`expected status ok or error for ${procedure.name}, got ${packet.status}`);
    else if (!call.settled) call.accept(body);
    // Only now: if decoding threw, the call is still in flight and `end` rejects it.
    this.#inFlight.delete(packet.serial);
    this.#fill();
  }

  /** Rejects everything with ConnectionLost. Later calls reject at once. */
  end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    const lost = (sent: boolean) => (call: Call) =>
      call.reject(new ConnectionLost(`${call.procedure.name}: ${error.message}`, { cause: error, sent }));
    const waiting = [...this.#waiting];
    for (const call of this.#inFlight.values()) lost(true)(call);
    for (const call of waiting) lost(false)(call);
    this.#inFlight.clear();
  }

  #fill(): void {
    for (const call of this.#waiting) {
      if (this.#inFlight.size >= this.#maxInFlight) return;
      this.#waiting.delete(call);
      this.#lastSerial = (this.#lastSerial % 0xffffffff) + 1; // 32 bits, never 0: that is the keepalive's
      call.serial = this.#lastSerial;
      this.#inFlight.set(call.serial, call);
      this.#send(call.procedure, call.serial, call.body);
    }
  }

  #expire(call: Call, timeoutMs: number): void {
    const sent = call.serial !== 0;
    const where = sent ? 'no answer from libvirt' : 'no free slot on the libvirt connection';
    call.reject(new CallTimeout(`${call.procedure.name}: ${where} within ${timeoutMs} ms`, sent));
    if (sent || [...this.#inFlight.values()].some((other) => !other.settled)) return;
    this.#onStuck(
      new CallTimeout(`libvirt answers none of ${this.#inFlight.size} calls that were given up`, true),
    );
  }
}
