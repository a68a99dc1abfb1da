/** Median of at least one value. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  if (upper === undefined) throw new Error('the median of no values: every measurement failed');
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] as number)) / 2;
}

/** The value below which this share (0 to 1) of at least one value lies. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
  if (value === undefined) throw new Error('a percentile of no values: every measurement failed');
  return value;
}

/** Median, least, greatest and number of measurements, with the unit in each name. */
export function spread(values: readonly number[], unit: string): Record<string, number> {
  return {
    [`median_${unit}`]: rounded(median(values)),
    [`least_${unit}`]: rounded(Math.min(...values)),
    [`most_${unit}`]: rounded(Math.max(...values)),
    runs: values.length,
  };
}

/** Medians of each part of many breakdowns; a part that one lacks counts as 0 there. */
export function medianParts(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const names = [...new Set(all.flatMap((parts) => Object.keys(parts)))];
  return Object.fromEntries(
    names.map((name) => [name, rounded(median(all.map((parts) => parts[name] ?? 0)))]),
  );
}

/** Three significant digits below 100, whole numbers above. */
export function rounded(value: number): number {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
