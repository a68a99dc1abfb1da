import { WINDOW_BYTES } from '../protocol/types.ts';

/**
 * Watches one stream's producer, so that what is forwarded is bounded whatever it sends: bytes must follow each other and stay within the
 * window of what the receiver acknowledged.
 */
export class StreamGuard {
  #acknowledged = 0n;
  #expected = 0n;
  #fresh = true;

  /** What the receiver has, as far as it has said. */
  get acknowledged(): bigint {
    return this.#acknowledged;
  }

  /** A new attachment: the receiver has everything below `delivered`. */
  start(delivered: bigint, produced: bigint = delivered): void {
    this.#acknowledged = delivered;
    this.#expected = produced;
    this.#fresh = true;
  }

  /**
   * `stale`: in flight since before the attachment, or a repetition: to be dropped. `beyond`: more than the window allows.
   * The first bytes may lie below what was delivered: a guest that was restored from before the output (docs/protocol.md, Attach).
   */
  data(offset: bigint, bytes: number): 'ok' | 'stale' | 'beyond' {
    const rolledBack = this.#fresh && offset < this.#expected;
    if (offset !== this.#expected && !rolledBack) return 'stale';
    if (rolledBack) this.#acknowledged = offset;
    const end = offset + BigInt(bytes);
    if (end > this.#acknowledged + BigInt(WINDOW_BYTES)) return 'beyond';
    this.#expected = end;
    this.#fresh = false;
    return 'ok';
  }

  /** False: an acknowledgement of bytes that were never sent. */
  acknowledge(offset: bigint): boolean {
    if (offset > this.#expected) return false;
    if (offset > this.#acknowledged) this.#acknowledged = offset;
    return true;
  }
}
