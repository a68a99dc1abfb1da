export interface KeepaliveOptions {
  /** How often we ask when nothing was heard. Default 5,000 (libvirt's own). */
  readonly intervalMs?: number;
  /** How many questions may stay unanswered. Default 5 (libvirt's own). */
  readonly count?: number;
}

/**
 * Notices a peer that is stopped or cut off, for which the kernel reports nothing. Any packet from the peer counts as a sign of life. `onSilent`
 * is called once, after (count + 1) intervals without one.
 */
export class Keepalive {
  readonly #timer: NodeJS.Timeout;
  #unanswered = 0;

  constructor(
    options: KeepaliveOptions,
    actions: { readonly ping: () => void; readonly onSilent: (silentMs: number) => void },
  ) {
    const { intervalMs = 5000, count = 5 } = options;
    this.#timer = setInterval(() => {
      if (this.#unanswered >= count) {
        this.stop();
        actions.onSilent((count + 1) * intervalMs);
        return;
      }
      this.#unanswered += 1;
      actions.ping();
    }, intervalMs);
    this.#timer.unref();
  }

  heard(): void {
    this.#unanswered = 0;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
