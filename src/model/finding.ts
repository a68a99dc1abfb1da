/** What `caddis doctor` says of one thing. `warn`: it works, but not as well as it could. This file is a leaf: it imports nothing. */
export interface Finding {
  readonly check: string;
  readonly verdict: 'ok' | 'warn' | 'fail';
  readonly found: string;
}
