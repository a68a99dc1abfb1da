import { randomBytes } from 'node:crypto';

import type { RequestOptions } from '../link.ts';
import { DocumentAssembler } from '../protocol/document-frames.ts';
import type { Frame } from '../protocol/frame.ts';
import { parseSetupResult, type SetupResult } from '../protocol/machine-documents.ts';

interface Pending<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

/** Questions to the guest that wait for their answer. */
export class Requests {
  readonly #setups = new Map<bigint, Pending<SetupResult>>();
  readonly #pings = new Map<bigint, Pending<void>>();
  #documents = new DocumentAssembler(1);
  /** Not from 1: a guest may still answer what an earlier caddisd, or the one that saved it, had asked. */
  #lastId = randomBytes(6).readUIntBE(0, 6);

  setup(options: RequestOptions): { id: bigint; answer: Promise<SetupResult> } {
    return this.#wait(this.#setups, 'SETUP_DONE', options);
  }

  ping(options: RequestOptions): { id: bigint; answer: Promise<void> } {
    return this.#wait(this.#pings, 'PONG', options);
  }

  /** A SETUP_DONE frame. Throws ProtocolError when its document is malformed; answers to forgotten requests are dropped. */
  setupDone(frame: Frame): void {
    const document = this.#documents.take(frame);
    if (!document) return;
    const result = parseSetupResult(document);
    const pending = this.#setups.get(frame.session);
    if ((frame.flags & 1) === 0) pending?.resolve(result);
    else pending?.reject(new Error(result.message || 'the guest gave no reason'));
  }

  pong(id: bigint): void {
    this.#pings.get(id)?.resolve();
  }

  failAll(error: Error): void {
    for (const pending of [...this.#setups.values(), ...this.#pings.values()]) pending.reject(error);
    this.#documents = new DocumentAssembler(1);
  }

  #wait<T>(
    table: Map<bigint, Pending<T>>,
    what: string,
    options: RequestOptions,
  ): { id: bigint; answer: Promise<T> } {
    this.#lastId += 1;
    const id = BigInt(this.#lastId);
    const answer = new Promise<T>((resolve, reject) => {
      const aborted = () => reject(options.signal?.reason as Error);
      const timer = setTimeout(
        () => reject(new Error(`no ${what} from the guest within ${options.timeoutMs} ms`)),
        options.timeoutMs,
      );
      const settle = () => {
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', aborted);
        table.delete(id);
      };
      table.set(id, {
        resolve: (value) => {
          settle();
          resolve(value);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      if (options.signal?.aborted) aborted();
      options.signal?.addEventListener('abort', aborted, { once: true });
    });
    answer.catch(() => undefined).then(() => table.delete(id));
    return { id, answer };
  }
}
