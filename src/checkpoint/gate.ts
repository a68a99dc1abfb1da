import { StoreUnavailable } from './errors.ts';

/**
 * Lets at most `width` operations into the thread pool at a time, and waits for none longer than its deadline.
 *
 * A system call on a dead network file system never returns, and holds one of the few threads that all of the process's file I/O shares. So an operation that is
 * overdue keeps its place here until it returns: a dead store costs `width` threads and no more, and what comes later is refused when its own deadline is over.
 */
export class Gate {
  readonly #width: number;
  #inside = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(width: number) {
    this.#width = width;
  }

  /** Rejects with StoreUnavailable that names `path` when `operation` was not done within `deadlineMs`, the time of waiting for a place included. */
  run<T>(path: string, what: string, deadlineMs: number, operation: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const enter = () => {
        this.#inside += 1;
        operation()
          .then(resolve, reject)
          .finally(() => {
            clearTimeout(timer);
            this.#leave();
          });
      };
      const timer = setTimeout(() => {
        const place = this.#waiting.indexOf(enter);
        if (place >= 0) this.#waiting.splice(place, 1);
        reject(new StoreUnavailable(path, `${what} was not done within ${deadlineMs / 1000} s`));
      }, deadlineMs);
      if (this.#inside < this.#width) enter();
      else this.#waiting.push(enter);
    });
  }

  #leave(): void {
    this.#inside -= 1;
    this.#waiting.shift()?.();
  }
}
