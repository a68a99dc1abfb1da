import type { Traced } from './rules.ts';

/** Of a long run of the same step (the writes of an image) these are enough: the first, the one in the middle, the last. */
function ordinals(point: string, count: number): number[] {
  if (count <= 3 || !/^write /.test(point))
    return Array.from({ length: Math.min(count, 4) }, (_, index) => index + 1);
  return [1, Math.ceil(count / 2), count];
}

/** Within calls of libvirt that take long, in milliseconds after the call. */
const WITHIN: Readonly<Record<string, readonly number[]>> = {
  'rpc snapshot sent': [60, 200, 400],
  'rpc restore sent': [100, 400, 800, 1600],
  'rpc migrate sent': [100, 400, 1000],
  'rpc destroy sent': [30],
};

/** Every point of one save or restore as it was traced, in its order: where something can be killed. */
export function pointsOf(steps: readonly Traced[]): { point: string; nth: number; delayMs: number }[] {
  const counts = new Map<string, number>();
  for (const { point } of steps) counts.set(point, (counts.get(point) ?? 0) + 1);
  const seen = new Map<string, number>();
  return steps.flatMap(({ point }) => {
    const nth = (seen.get(point) ?? 0) + 1;
    seen.set(point, nth);
    if (!ordinals(point, counts.get(point) ?? 0).includes(nth)) return [];
    return [0, ...(WITHIN[point] ?? [])].map((delayMs) => ({ point, nth, delayMs }));
  });
}

export type Point = ReturnType<typeof pointsOf>[number];
