import { type DomainEvent, type DomainEventKind, eventKindOf, eventTypes } from './events.ts';
import type { Packet } from './packets.ts';
import { Decoder } from './xdr.ts';

/** Events that came before the reply that says which registration they belong to. More than this are dropped, oldest first. */
const earlyMax = 256;

/**
 * The event registrations of one connection, by the daemon's callback ids. The daemon may send an event before the reply to its registration,
 * so events without a known id are kept as long as a registration is on its way.
 */
export class Subscriptions {
  readonly #listeners = new Map<number, (event: DomainEvent) => void>();
  readonly #early: { readonly callbackId: number; readonly event: DomainEvent }[] = [];
  #registering = 0;

  /** Runs `register`, which resolves to the callback id, and binds the id to the listener. */
  async add(register: () => Promise<number>, listener: (event: DomainEvent) => void): Promise<number> {
    this.#registering += 1;
    try {
      const callbackId = await register();
      this.#listeners.set(callbackId, listener);
      for (const { event } of this.#early.filter((early) => early.callbackId === callbackId))
        deliver(event, listener);
      return callbackId;
    } finally {
      this.#registering -= 1;
      if (this.#registering === 0) this.#early.length = 0;
    }
  }

  remove(callbackId: number): boolean {
    return this.#listeners.delete(callbackId);
  }

  /** Takes an event packet. Kinds that we never register are ignored. Throws XdrError for a malformed one. */
  dispatch(packet: Packet): void {
    const kind = eventKindOf(packet.procedure);
    if (kind === undefined) return;
    const { callbackId, event } = decodeEvent(kind, packet.body);
    const listener = this.#listeners.get(callbackId);
    if (listener) deliver(event, listener);
    else if (this.#registering > 0) {
      if (this.#early.length >= earlyMax) this.#early.shift();
      this.#early.push({ callbackId, event });
    } // else it crossed its own cancellation
  }
}

function decodeEvent(kind: DomainEventKind, body: Buffer): { callbackId: number; event: DomainEvent } {
  const from = new Decoder(body);
  const callbackId = from.i32();
  return { callbackId, event: eventTypes[kind].decode(from) };
}

/** A listener's own mistake is not the daemon's: it surfaces as an uncaught exception and leaves the connection alone. */
function deliver(event: DomainEvent, listener: (event: DomainEvent) => void): void {
  try {
    listener(event);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
