import { messageOf } from '../../model/errors.ts';
import type { Node } from '../node.ts';

/** A store's free space changes by whole checkpoints. */
const EVERY_MS = 5_000;
/** A file system that hangs is as good as none. */
const TIMEOUT_MS = 3_000;

/** Whether anything could be saved now: looked at beforehand, since nobody has time for it when an owner wants its memory. */
export class StoreWatch {
  readonly #node: Node;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #trouble: string | undefined;

  constructor(node: Node) {
    this.#node = node;
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Looks again in the background when the last look is old. */
  keepFresh(bytes: number): void {
    const nowMs = performance.now();
    if (nowMs - this.#lookedMs < EVERY_MS) return;
    this.#lookedMs = nowMs;
    void this.look(bytes);
  }

  /** Whether `bytes` could be saved now. Resolves with the reason why not. */
  async look(bytes: number): Promise<string | undefined> {
    this.#lookedMs = performance.now();
    const { checkpoints } = this.#node.context;
    if (!checkpoints) this.#trouble = 'there is no store (checkpoint.dir in caddis.toml)';
    else
      this.#trouble = await within(checkpoints.store.demandRoom(bytes)).then(
        () => undefined,
        (error: unknown) => messageOf(error),
      );
    return this.#trouble;
  }
}

async function within(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`the checkpoint store does not answer within ${TIMEOUT_MS / 1000} s`)),
      TIMEOUT_MS,
    );
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
