export const ok = (found: string) => ({ verdict: 'ok', found }) as const;
export const warn = (found: string) => ({ verdict: 'warn', found }) as const;
export const fail = (found: string) => ({ verdict: 'fail', found }) as const;
