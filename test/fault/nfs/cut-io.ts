import type { StoreFile, StoreIo } from '../../../src/checkpoint/io.ts';

/** What a process that died would have thrown. */
export class Cut extends Error {
  override name = 'Cut';
}

/** A file system of which nothing more is heard after so many operations, as when the process that used it was killed. */
export class CutIo {
  readonly io: StoreIo;
  #left: number;
  done = 0;

  constructor(real: StoreIo, operations = Number.POSITIVE_INFINITY) {
    this.#left = operations;
    this.io = new Proxy(real, {
      get: (target, name: keyof StoreIo) => {
        const operation = target[name] as (...words: unknown[]) => Promise<unknown>;
        return async (...words: unknown[]) => {
          this.#count(name);
          const result = await operation.apply(target, words);
          return name === 'open' ? this.#file(result as StoreFile) : result;
        };
      },
    });
  }

  #file(file: StoreFile): StoreFile {
    return new Proxy(file, {
      get: (target, name: keyof StoreFile) => {
        // It is given through promises, which ask whether it is one.
        if (!(name in target)) return undefined;
        const operation = target[name] as (...words: unknown[]) => Promise<unknown>;
        return async (...words: unknown[]) => {
          // A dead process has its files closed by the kernel.
          if (name !== 'close') this.#count(name);
          return operation.apply(target, words);
        };
      },
    });
  }

  #count(next: string): void {
    if (this.#left <= 0) throw new Cut(`cut off after ${this.done} operations, before ${next}`);
    this.#left -= 1;
    this.done += 1;
  }
}
