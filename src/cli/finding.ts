/** `warn`: it works, but not as well as it could. */
type Verdict = 'ok' | 'warn' | 'fail';

/** What `caddis doctor` says of one thing that a machine depends on. */
export interface Finding {
  readonly check: string;
  readonly verdict: Verdict;
  readonly found: string;
}

export const ok = (found: string) => ({ verdict: 'ok', found }) as const;
export const warn = (found: string) => ({ verdict: 'warn', found }) as const;
export const fail = (found: string) => ({ verdict: 'fail', found }) as const;
