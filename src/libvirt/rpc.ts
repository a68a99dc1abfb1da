import type { Domain } from './domain.ts';
import type { DomainEventKind, DomainEventOf } from './events.ts';
import type { Procedure } from './procedures.ts';
import type { Decoder, Encoder } from './xdr.ts';

/** Every call takes these. */
export interface CallOptions {
  /** Gives up waiting; the daemon may still carry the call out. Rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** From the moment of the call, queueing included. Default 30,000. Rejects with CallTimeout. */
  readonly timeoutMs?: number | undefined;
}

/** Calls that move memory or images: the caller must say how long they may take. */
export interface LongCallOptions extends CallOptions {
  readonly timeoutMs: number;
}

export interface Subscription {
  /** Stops the events. Never rejects because the connection is gone: then they have stopped already. */
  cancel(): Promise<void>;
}

/** What the typed calls need of a connection: Connection and ReconnectingConnection both have it, and so may a fake. */
export interface Rpc {
  call<T>(
    procedure: Procedure,
    args: Encoder,
    decode: (from: Decoder) => T,
    options?: CallOptions,
  ): Promise<T>;
  /** Calls `listener` for each event of that kind, of one domain or of all. */
  subscribe<Kind extends DomainEventKind>(
    kind: Kind,
    listener: (event: DomainEventOf<Kind>) => void,
    options?: CallOptions & { readonly domain?: Domain | undefined },
  ): Promise<Subscription>;
  /** Ends the connection in an orderly way; calls in flight reject with ConnectionLost. */
  close(): Promise<void>;
}
