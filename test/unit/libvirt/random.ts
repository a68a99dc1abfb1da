export interface RandomSource {
  /** A whole number from 0 to `bound` - 1. */
  below(bound: number): number;
  /** An unsigned number of up to `bits` bits. */
  bigint(bits: number): bigint;
}

/** The same numbers for the same seed (mulberry32), so that a failing round can be run again. */
export function randomSource(seed: number): RandomSource {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  return {
    below: (bound) => Math.floor((next() / 2 ** 32) * bound),
    bigint: (bits) => ((BigInt(next()) << 32n) | BigInt(next())) & ((1n << BigInt(bits)) - 1n),
  };
}
