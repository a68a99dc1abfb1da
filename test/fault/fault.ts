/** A part of `npm run fault -- NAME`: it tries variants of something going wrong and says which of them broke a promise. */
export interface FaultPart {
  readonly name: string;
  readonly run: (tally: Tally) => Promise<void>;
}

/** A promise that does not hold. */
export class Violation extends Error {
  override name = 'Violation';
}

/** Counts variants by kind and keeps what failed. */
export class Tally {
  readonly kinds: Record<string, number> = {};
  readonly failures: { kind: string; variant: string; what: string }[] = [];
  /** What else is worth telling, by name: how jobs went on. */
  readonly counts: Record<string, number> = {};

  /** Runs one variant; whatever it throws is a failure of the promise. `variant` says how to run it again. */
  async variant(kind: string, variant: string, attempt: () => Promise<void>): Promise<void> {
    this.kinds[kind] = (this.kinds[kind] ?? 0) + 1;
    try {
      await attempt();
    } catch (error) {
      const isViolation = error instanceof Violation;
      const what = isViolation || !(error instanceof Error) ? String(error) : (error.stack ?? error.message);
      this.failures.push({ kind, variant, what });
    }
  }

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  get variants(): number {
    return Object.values(this.kinds).reduce((sum, count) => sum + count, 0);
  }
}
