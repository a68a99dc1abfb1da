/** Prefixes of sge_types(1) memory_specifier: small letters are powers of 1000, capitals of 1024. */
const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  K: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
  T: 1024 ** 4,
};

/** Bytes of a memory_specifier (sge_types(1)): `2G`, `1.5g`, `0x400`, `512`. Undefined if it is none. */
export function parseMemory(text: string): number | undefined {
  const match = /^(0x[0-9a-fA-F]+|\d+(?:\.\d*)?|\.\d+)([kKmMgGtT]?)$/.exec(text.trim());
  if (!match) return undefined;
  const bytes = Math.round(Number(match[1]) * (FACTORS[match[2] ?? ''] as number));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
