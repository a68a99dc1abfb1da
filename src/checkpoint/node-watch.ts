import { type Beat, readBeat } from './heartbeat.ts';
import type { StoreIo } from './io.ts';

/** What another node's heartbeat says, measured on our own clock. */
export type NodeState =
  /** Its counter has moved within the lease. `stillMs` since then. */
  | { readonly kind: 'alive'; readonly stillMs: number; readonly bootId: string }
  /** It was not seen to move for `stillMs`; since we watch, if it never was. */
  | { readonly kind: 'still'; readonly stillMs: number; readonly bootId: string | undefined }
  /** It has said that it has no machine. */
  | { readonly kind: 'released'; readonly bootId: string };

interface WatchOptions {
  /** checkpoint.lease in milliseconds. */
  readonly leaseMs: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

interface Seen {
  beat: Beat | undefined;
  /** When it last was another than before; when we first looked, if it never was. */
  changedMs: number;
  moved: boolean;
  lookedMs: number;
}

/**
 * Watches other nodes' heartbeats. A node is judged by whether its counter moves while we look, never by a time that it wrote.
 *
 * A count of standing still holds only over looks that follow each other closely, half a lease at most. After a longer gap (the store was away, this caddisd was
 * stopped) it begins again: a store that was away for us was away for the others too, and they need time to beat again.
 */
export class NodeWatch {
  readonly #io: StoreIo;
  readonly #store: string;
  readonly #leaseMs: number;
  readonly #now: () => number;
  readonly #seen = new Map<string, Seen>();

  constructor(io: StoreIo, store: string, { leaseMs, now = () => performance.now() }: WatchOptions) {
    this.#io = io;
    this.#store = store;
    this.#leaseMs = leaseMs;
    this.#now = now;
  }

  /** Looks once. To be called every checkpoint.heartbeat seconds for as long as a node matters. Throws StoreUnavailable, which is no news of the node. */
  async observe(host: string): Promise<NodeState> {
    const beat = await readBeat(this.#io, this.#store, host);
    // After the read: what took long to read is no older than this.
    const now = this.#now();
    const seen = this.#seen.get(host);
    const next = seen ? this.#update(seen, beat, now) : { beat, changedMs: now, moved: false, lookedMs: now };
    this.#seen.set(host, next);
    return this.#stateOf(next, now);
  }

  /** Stops watching a node; what was counted is forgotten. */
  forget(host: string): void {
    this.#seen.delete(host);
  }

  #update(seen: Seen, beat: Beat | undefined, now: number): Seen {
    const moved =
      beat !== undefined && (beat.session !== seen.beat?.session || beat.counter !== seen.beat.counter);
    if (moved) return { beat, changedMs: now, moved: true, lookedMs: now };
    const gap = now - seen.lookedMs > this.#leaseMs / 2;
    return { ...seen, lookedMs: now, ...(gap ? { changedMs: now, moved: false } : {}) };
  }

  #stateOf({ beat, changedMs, moved }: Seen, now: number): NodeState {
    const stillMs = now - changedMs;
    if (beat?.released) return { kind: 'released', bootId: beat.bootId };
    if (beat && moved && stillMs < this.#leaseMs) return { kind: 'alive', stillMs, bootId: beat.bootId };
    return { kind: 'still', stillMs, bootId: beat?.bootId };
  }
}
