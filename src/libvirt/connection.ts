import type net from 'node:net';

import { type CallLimits, Calls } from './calls.ts';
import { type Domain, encodeDomain } from './domain.ts';
import { ConnectionLost, isLibvirtError, ProtocolError } from './errors.ts';
import { type DomainEventKind, type DomainEventOf, eventTypes } from './events.ts';
import { Keepalive, type KeepaliveOptions } from './keepalive.ts';
import { encodePacket, type Packet, PacketReader, packetStatus, packetType } from './packets.ts';
import { keepaliveMessage, type Procedure, program, remote } from './procedures.ts';
import type { CallOptions, Rpc, Subscription } from './rpc.ts';
import { Subscriptions } from './subscriptions.ts';
import { describeEndpoint, type Endpoint, openTransport } from './transport.ts';
import { type Decoder, Encoder } from './xdr.ts';

export interface ConnectionOptions extends CallLimits {
  /** Default: libvirtd's own socket on this machine. */
  readonly endpoint?: Endpoint;
  /** Bound for connecting, authentication and opening the driver together, each. Default 10,000. */
  readonly openTimeoutMs?: number;
  /** `false`: never ask (the daemon's own pings are answered all the same). */
  readonly keepalive?: KeepaliveOptions | false;
  readonly signal?: AbortSignal | undefined;
}

/** The only authentication that needs no exchange (remote_auth_type). Root on the unix socket, TLS by certificate, lab tcp. */
const authNone = 0;
/** VIR_DRV_FEATURE_PROGRAM_KEEPALIVE: asking for it also tells the daemon that it may ping us. */
const featureKeepalive = 10;
/** Bound for the daemon's goodbye. */
const closeTimeoutMs = 2000;

/**
 * One connection to a libvirt daemon. At most 4 calls are in flight, others wait in a bounded line; each has a deadline. A call that was given up keeps
 * its slot until the daemon answers; if all slots are held so and another call starves, the connection is given up.
 * Control calls can stall behind a long one of the same domain: give saves, restores and migrations a connection of their own (it costs 8 ms).
 */
export class Connection implements Rpc {
  readonly #socket: net.Socket;
  readonly #name: string;
  readonly #reader = new PacketReader();
  readonly #calls: Calls;
  readonly #subscriptions = new Subscriptions();
  readonly #closeListeners = new Set<(error: Error) => void>();
  #keepalive: Keepalive | undefined;
  #ended: Error | undefined;

  private constructor(socket: net.Socket, name: string, limits: CallLimits) {
    this.#socket = socket;
    this.#name = name;
    this.#calls = new Calls(limits, {
      send: (procedure, serial, body) => this.#send(procedure, packetType.call, serial, body),
      onStuck: (error) => this.#end(error),
    });
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the daemon closed the connection')));
  }

  /**
   * Opens a driver, e.g. `qemu:///system`. Rejects with ConnectionLost (nobody listens), LibvirtError (the driver refuses), CallTimeout, or
   * ProtocolError (the daemon wants an authentication other than none).
   */
  static async open(uri: string, options: ConnectionOptions = {}): Promise<Connection> {
    const { endpoint = { kind: 'unix' }, openTimeoutMs = 10_000, signal } = options;
    const bound = { timeoutMs: openTimeoutMs, signal };
    const socket = await openTransport(endpoint, bound);
    const connection = new Connection(socket, describeEndpoint(endpoint), options);
    try {
      await connection.#introduce(uri, bound);
    } catch (error) {
      connection.#end(new Error('opening failed'));
      throw error;
    }
    if (options.keepalive !== false) connection.#startKeepalive(options.keepalive ?? {});
    return connection;
  }

  /** Why it ended; undefined while it is up. */
  get ended(): Error | undefined {
    return this.#ended;
  }

  /** For metrics: calls at the daemon (given-up ones too) and calls that wait. */
  get load(): { readonly inFlight: number; readonly waiting: number } {
    return { inFlight: this.#calls.inFlightCount, waiting: this.#calls.waitingCount };
  }

  /** Calls `listener` once when the connection has ended, also if it already has. */
  onClose(listener: (error: Error) => void): void {
    if (this.#ended) listener(this.#ended);
    else this.#closeListeners.add(listener);
  }

  call<T>(
    procedure: Procedure,
    args: Encoder,
    decode: (from: Decoder) => T,
    options?: CallOptions,
  ): Promise<T> {
    return this.#calls.start(procedure, args, decode, options);
  }

  async subscribe<Kind extends DomainEventKind>(
    kind: Kind,
    listener: (event: DomainEventOf<Kind>) => void,
    options: CallOptions & { readonly domain?: Domain | undefined } = {},
  ): Promise<Subscription> {
    const { domain } = options;
    const args = new Encoder().i32(eventTypes[kind].id).bool(domain !== undefined);
    if (domain) encodeDomain(args, domain);
    const callbackId = await this.#subscriptions.add(
      () => this.call(remote.eventCallbackRegisterAny, args, (from) => from.i32(), options),
      (event) => listener(event as DomainEventOf<Kind>),
    );
    return { cancel: () => this.#unsubscribe(callbackId) };
  }

  async close(): Promise<void> {
    if (this.#ended) return;
    this.#keepalive?.stop();
    const goodbye = this.call(remote.connectClose, new Encoder(), () => {}, { timeoutMs: closeTimeoutMs });
    await goodbye.catch(() => {}); // a daemon that does not say goodbye is left all the same
    this.#end(new Error('closed by this side'));
  }

  async #introduce(uri: string, bound: CallOptions): Promise<void> {
    const methods = await this.call(
      remote.authList,
      new Encoder(),
      (from) => from.array(4, () => from.i32()),
      bound,
    );
    if (methods.length > 0 && !methods.includes(authNone))
      throw new ProtocolError(
        `libvirt at ${this.#name} wants authentication (types ${methods.join(', ')}: 1 sasl, 2 polkit); connect as root, or set auth_unix_rw = "none"`,
      );
    await this.call(remote.connectOpen, new Encoder().optionalString(uri).u32(0), () => {}, bound);
    const feature = new Encoder().i32(featureKeepalive);
    await this.call(remote.connectSupportsFeature, feature, (from) => from.i32(), bound);
  }

  async #unsubscribe(callbackId: number): Promise<void> {
    if (!this.#subscriptions.remove(callbackId) || this.#ended) return;
    try {
      await this.call(remote.eventCallbackDeregisterAny, new Encoder().i32(callbackId), () => {});
    } catch (error) {
      // Without a connection there is no registration; an error of the daemon means that it has none either.
      if (!(error instanceof ConnectionLost) && !isLibvirtError(error)) throw error;
    }
  }

  #startKeepalive(options: KeepaliveOptions): void {
    const ping = { program: program.keepalive, number: keepaliveMessage.ping, name: 'ping' };
    this.#keepalive = new Keepalive(options, {
      ping: () => this.#send(ping, packetType.event, 0, Buffer.alloc(0)),
      onSilent: (silentMs) => this.#end(new Error(`the daemon has been silent for ${silentMs} ms`)),
    });
  }

  #send(procedure: Procedure, type: number, serial: number, body: Buffer): void {
    if (this.#ended) return;
    this.#socket.write(
      encodePacket({
        program: procedure.program,
        procedure: procedure.number,
        type,
        serial,
        status: packetStatus.ok,
        body,
      }),
    );
  }

  #receive(chunk: Buffer): void {
    this.#keepalive?.heard();
    try {
      for (const packet of this.#reader.push(chunk)) {
        if (this.#ended) return;
        this.#take(packet);
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#end(new ProtocolError(`libvirt at ${this.#name} sent what cannot be: ${reason}`));
    }
  }

  #take(packet: Packet): void {
    if (packet.program === program.keepalive) {
      const pong = { program: program.keepalive, number: keepaliveMessage.pong, name: 'pong' };
      if (packet.procedure === keepaliveMessage.ping) this.#send(pong, packetType.event, 0, Buffer.alloc(0));
    } else if (packet.type === packetType.reply) this.#calls.answer(packet);
    else if (packet.type === packetType.event) {
      if (packet.program === program.remote) this.#subscriptions.dispatch(packet);
    } else throw new ProtocolError(`expected a reply or an event, got packet type ${packet.type}`);
  }

  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#keepalive?.stop();
    this.#socket.destroy();
    this.#calls.end(
      new Error(`connection to libvirt at ${this.#name} lost: ${error.message}`, { cause: error }),
    );
    for (const listener of this.#closeListeners) listener(error);
    this.#closeListeners.clear();
  }
}
