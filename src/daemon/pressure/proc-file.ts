import { closeSync, openSync, readSync } from 'node:fs';

/** The beginning of a file says what is asked of it: that of /proc/stat has a line for all CPUs together. */
const BYTES = 8_192;
const buffer = Buffer.allocUnsafe(BYTES);

/**
 * A file of /proc that is read again and again. It is kept open, since opening it costs more than reading it, and read in place: it comes from memory, a thread's turn costs ten
 * times as much, and a node has dozens of machines each second.
 */
export class ProcFile {
  readonly #path: string;
  #fd: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** As it is now; empty when it is not there, or its process is gone: a kept file is never that of a later process with the same pid. */
  read(): string {
    try {
      this.#fd ??= openSync(this.#path, 'r');
      return buffer.toString('latin1', 0, readSync(this.#fd, buffer, 0, BYTES, 0));
    } catch {
      this.close();
      return '';
    }
  }

  close(): void {
    if (this.#fd === undefined) return;
    const fd = this.#fd;
    this.#fd = undefined;
    closeSync(fd);
  }
}
