/** How tasks stalled for want of a resource: `some`, at least one of them; `full`, all that were not idle. */
interface Stall {
  readonly some: number;
  readonly full: number;
}

/** For each resource: microseconds since boot, or the share (0 to 1) of a time. */
export interface Stalls {
  readonly cpu: Stall;
  readonly memory: Stall;
  readonly io: Stall;
}

const LINE = /^(cpu|memory|io) (some|full) .*\btotal=(\d+)$/;

/**
 * Reads lines of /proc/pressure, each with its file's name before it (`memory some avg10=0.00 ... total=0`), into microseconds since boot. What is not there is 0; undefined
 * when nothing is: a kernel without PSI. Lines that are none are left out: a guest may say what it likes.
 */
export function parsePsi(lines: readonly string[]): Stalls | undefined {
  const totals = { cpu: { some: 0, full: 0 }, memory: { some: 0, full: 0 }, io: { some: 0, full: 0 } };
  let found = false;
  for (const line of lines) {
    const [, resource, kind, total] = LINE.exec(line) ?? [];
    if (resource === undefined) continue;
    totals[resource as keyof Stalls][kind as keyof Stall] = Number(total);
    found = true;
  }
  return found ? totals : undefined;
}

/** The share of `elapsedMs` in which tasks stalled, from 0 to 1. The totals are used because the kernel's own averages lag by seconds. */
export function stallShares(before: Stalls, after: Stalls, elapsedMs: number): Stalls {
  const share = (a: number, b: number) => (elapsedMs > 0 ? clamp01((b - a) / (1000 * elapsedMs)) : 0);
  const of = (resource: keyof Stalls): Stall => ({
    some: share(before[resource].some, after[resource].some),
    full: share(before[resource].full, after[resource].full),
  });
  return { cpu: of('cpu'), memory: of('memory'), io: of('io') };
}

/** Between 0 and 1; what is no number is 0. */
export function clamp01(value: number): number {
  return value > 0 ? Math.min(value, 1) : 0;
}
