import type { Domain } from './domain.ts';
import type { DomainEvent, DomainEventKind } from './events.ts';
import type { CallOptions, Rpc, Subscription } from './rpc.ts';

/** The consumer did not keep up and events were dropped: look at the domains again, then start anew. */
export class EventsOverflowed extends Error {
  override name = 'EventsOverflowed';
}

/** Events in order of arrival, for `for await`. Leaving the loop cancels the registrations. */
export interface EventStream<Kind extends DomainEventKind>
  extends AsyncIterable<Extract<DomainEvent, { kind: Kind }>> {
  close(): Promise<void>;
}

/**
 * Registers for `kinds` (of one domain or of all) and resolves when all are in place, so that nothing after it is missed. Holds at most
 * `maxHeld` events (default 1,024) for a slow consumer; then the iteration throws EventsOverflowed. Ends with the signal or close(). Over a
 * ReconnectingConnection it lives through reconnects: its `up` says that events may be missing.
 */
export async function openEventStream<Kind extends DomainEventKind>(
  rpc: Rpc,
  kinds: readonly Kind[],
  options: CallOptions & { readonly domain?: Domain | undefined; readonly maxHeld?: number | undefined } = {},
): Promise<EventStream<Kind>> {
  type Event = Extract<DomainEvent, { kind: Kind }>;
  const { maxHeld = 1024, signal } = options;
  const held: Event[] = [];
  const subscriptions: Subscription[] = [];
  let state: 'open' | 'overflowed' | 'closed' = 'open';
  let wake: (() => void) | undefined;

  const take = (event: DomainEvent): void => {
    if (state !== 'open') return;
    if (held.length >= maxHeld) state = 'overflowed';
    else held.push(event as Event);
    wake?.();
  };
  const close = async (): Promise<void> => {
    if (state === 'open') state = 'closed';
    signal?.removeEventListener('abort', onAbort);
    wake?.();
    await Promise.all(subscriptions.splice(0).map((subscription) => subscription.cancel()));
  };
  const onAbort = (): void => {
    close().catch(() => {}); // a late error of a cancellation has no one left to tell
  };

  try {
    for (const kind of kinds) subscriptions.push(await rpc.subscribe(kind, take, options));
  } catch (error) {
    await close();
    throw error;
  }
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();

  async function* iterate(): AsyncGenerator<Event> {
    try {
      for (;;) {
        const event = held.shift();
        if (event !== undefined) yield event;
        else if (state === 'overflowed')
          throw new EventsOverflowed(`more than ${maxHeld} libvirt events waited`);
        else if (state === 'closed') return;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      await close();
    }
  }
  return { close, [Symbol.asyncIterator]: iterate };
}
