/** The last samples of one thing, oldest first, never more than `most`. */
export class History<T extends { readonly atMs: number }> {
  readonly #most: number;
  readonly #samples: T[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  add(sample: T): void {
    this.#samples.push(sample);
    if (this.#samples.length > this.#most) this.#samples.shift();
  }

  /** The samples that are at most `ms` older than the last one. */
  last(ms: number): readonly T[] {
    const from = (this.#samples.at(-1)?.atMs ?? 0) - ms;
    return this.#samples.filter(({ atMs }) => atMs >= from);
  }

  all(): readonly T[] {
    return this.#samples;
  }
}
