import type { EndedJob } from '../model/usage.ts';

const MiB = 1024 * 1024;
/** Above the peak: runs differ, and samples miss a little. */
const MARGIN = 1.2;
/** A job that met its wall would have taken more: nobody knows how much. */
const MARGIN_AT_WALL = 1.5;
const LEAST_MIB = 50;
/** The start of a job says nothing about its CPUs. */
const LEAST_SECONDS = 60;
/** Steps in MiB in which people ask, each up to a size. */
const STEPS: readonly (readonly [upToMib: number, stepMib: number])[] = [
  [500, 50],
  [2_000, 100],
  [8_192, 512],
  [Number.POSITIVE_INFINITY, 1_024],
];

/** Bytes to ask for next time: the peak and a margin, rounded up as a user would type it. */
export function memoryToAsk({ memory_held_peak_bytes: held, oom_kills: kills }: EndedJob): number {
  const mib = (held * (kills > 0 ? MARGIN_AT_WALL : MARGIN)) / MiB;
  return roundUp(Math.max(mib, LEAST_MIB)) * MiB;
}

/** CPUs to ask for: what it kept busy on average, never more than it had. Undefined: what it had is right. */
export function cpusToAsk({
  cpus,
  cpu_efficiency: efficiency,
  wall_seconds: seconds,
}: EndedJob): number | undefined {
  if (seconds < LEAST_SECONDS) return undefined;
  const busy = Math.max(1, Math.ceil(cpus * efficiency * MARGIN));
  return busy < cpus ? busy : undefined;
}

function roundUp(mib: number): number {
  const [, step] = STEPS.find(([upTo]) => mib <= upTo) as readonly [number, number];
  return Math.ceil(mib / step) * step;
}
