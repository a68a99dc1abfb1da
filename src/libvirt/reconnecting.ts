import { EventEmitter } from 'node:events';

import { Connection, type ConnectionOptions } from './connection.ts';
import type { Domain } from './domain.ts';
import { CallTimeout, ConnectionLost } from './errors.ts';
import type { DomainEventKind, DomainEventOf } from './events.ts';
import type { Procedure } from './procedures.ts';
import type { CallOptions, Rpc, Subscription } from './rpc.ts';
import type { Decoder, Encoder } from './xdr.ts';

export interface ReconnectOptions {
  /** Wait before the second attempt, doubled after each failure up to `maxDelayMs`, with a random part of up to a half. Defaults 100 and 5,000. */
  readonly firstDelayMs?: number;
  readonly maxDelayMs?: number;
}

interface ReconnectEvents {
  /** Connected, with every subscription in place. Events of the time between were lost: look at the domains again. */
  up: [];
  /** Calls in flight have been rejected; calls until the next `up` reject at once. */
  down: [error: Error];
  /** An attempt to connect failed; the next comes after `delayMs`. */
  retry: [error: Error, delayMs: number];
}

/** A registration that outlives connections: made again on each. */
interface LastingSubscription {
  register(connection: Connection): Promise<Subscription>;
  current: Subscription | undefined;
}

/**
 * A connection that is opened again whenever it is lost. Calls are never repeated (the daemon may have carried them out): they reject with
 * ConnectionLost, and `sent` says whether they had left.
 */
export class ReconnectingConnection extends EventEmitter<ReconnectEvents> implements Rpc {
  readonly #uri: string;
  readonly #options: ConnectionOptions & ReconnectOptions;
  readonly #subscriptions = new Set<LastingSubscription>();
  readonly #stop = new AbortController();
  readonly #finished: Promise<void>;
  #connection: Connection | undefined;
  #lastError: Error = new Error('not connected yet');

  /** Begins to connect at once. */
  constructor(uri: string, options: ConnectionOptions & ReconnectOptions = {}) {
    super();
    this.#uri = uri;
    this.#options = options;
    this.#finished = this.#run();
  }

  get isUp(): boolean {
    return this.#connection !== undefined;
  }

  /** Resolves as soon as the connection is up. Rejects with CallTimeout (default 30 s; cause: the last attempt's error) or the signal's reason. */
  async ready(options: CallOptions = {}): Promise<void> {
    const { timeoutMs = 30_000, signal } = options;
    signal?.throwIfAborted();
    if (this.isUp) return;
    await new Promise<void>((resolve, reject) => {
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        this.off('up', onUp);
        signal?.removeEventListener('abort', onAbort);
        this.#stop.signal.removeEventListener('abort', onStop);
        settle();
      };
      const onUp = (): void => finish(resolve);
      const onAbort = (): void => finish(() => reject(signal?.reason));
      const onStop = (): void => finish(() => reject(this.#lost()));
      const timer = setTimeout(() => {
        const error = new CallTimeout(
          `no libvirt connection within ${timeoutMs} ms: ${this.#lastError.message}`,
          false,
        );
        error.cause = this.#lastError;
        finish(() => reject(error));
      }, timeoutMs);
      this.once('up', onUp);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#stop.signal.addEventListener('abort', onStop, { once: true });
      if (this.#stop.signal.aborted) onStop();
    });
  }

  async call<T>(
    procedure: Procedure,
    args: Encoder,
    decode: (from: Decoder) => T,
    options?: CallOptions,
  ): Promise<T> {
    if (!this.#connection) throw this.#lost(procedure.name);
    return this.#connection.call(procedure, args, decode, options);
  }

  /** While down: resolves at once, and the registration is made with the next connection. */
  async subscribe<Kind extends DomainEventKind>(
    kind: Kind,
    listener: (event: DomainEventOf<Kind>) => void,
    options: CallOptions & { readonly domain?: Domain | undefined } = {},
  ): Promise<Subscription> {
    const { domain } = options;
    const lasting: LastingSubscription = {
      register: (connection) => connection.subscribe(kind, listener, { domain }),
      current: undefined,
    };
    const connection = this.#connection;
    this.#subscriptions.add(lasting);
    if (connection) {
      try {
        lasting.current = await connection.subscribe(kind, listener, options);
      } catch (error) {
        if (!(error instanceof ConnectionLost)) {
          this.#subscriptions.delete(lasting);
          throw error;
        }
      }
    }
    return {
      cancel: async () => {
        this.#subscriptions.delete(lasting);
        await lasting.current?.cancel();
      },
    };
  }

  async close(): Promise<void> {
    this.#stop.abort(new ConnectionLost('closed by this side', { sent: false }));
    await this.#connection?.close();
    await this.#finished;
  }

  async #run(): Promise<void> {
    const { firstDelayMs = 100, maxDelayMs = 5000 } = this.#options;
    let delayMs = firstDelayMs;
    while (!this.#stop.signal.aborted) {
      try {
        const connection = await this.#connect();
        const ended = new Promise<Error>((resolve) => connection.onClose(resolve));
        delayMs = firstDelayMs;
        this.emit('up');
        const error = await ended;
        this.#connection = undefined;
        for (const lasting of this.#subscriptions) lasting.current = undefined;
        this.#lastError = error;
        this.emit('down', error);
      } catch (error) {
        this.#lastError = error instanceof Error ? error : new Error(String(error));
        if (!this.#stop.signal.aborted) this.emit('retry', this.#lastError, delayMs);
      }
      await pause(delayMs * (1 + Math.random() / 2), this.#stop.signal);
      delayMs = Math.min(delayMs * 2, maxDelayMs);
    }
  }

  /** Returns with `#connection` set and every subscription registered on it. */
  async #connect(): Promise<Connection> {
    const signals = [this.#stop.signal, ...(this.#options.signal ? [this.#options.signal] : [])];
    const signal = AbortSignal.any(signals);
    const connection = await Connection.open(this.#uri, { ...this.#options, signal });
    try {
      // Again and again: one may be added while others are on their way.
      for (let missing = this.#missing(); missing.length > 0; missing = this.#missing())
        for (const lasting of missing) await this.#register(lasting, connection);
      signal.throwIfAborted();
    } catch (error) {
      for (const lasting of this.#subscriptions) lasting.current = undefined;
      await connection.close();
      throw error;
    }
    this.#connection = connection;
    return connection;
  }

  #missing(): LastingSubscription[] {
    return [...this.#subscriptions].filter(({ current }) => current === undefined);
  }

  async #register(lasting: LastingSubscription, connection: Connection): Promise<void> {
    if (!this.#subscriptions.has(lasting)) return;
    const subscription = await lasting.register(connection);
    if (this.#subscriptions.has(lasting)) lasting.current = subscription;
    else await subscription.cancel(); // it was cancelled on the way
  }

  #lost(procedureName?: string): ConnectionLost {
    const what = procedureName === undefined ? '' : `${procedureName}: `;
    const message = `${what}no connection to libvirt: ${this.#lastError.message}`;
    return new ConnectionLost(message, { cause: this.#lastError, sent: false });
  }
}

function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const finish = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, delayMs);
    signal.addEventListener('abort', finish, { once: true });
  });
}
