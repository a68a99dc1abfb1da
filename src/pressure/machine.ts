import { type Stalls, stallShares } from './psi.ts';
import type { MachineSample } from './sample.ts';

/** What a machine uses now, worked out from its last samples. */
export interface MachineUsage {
  readonly residentBytes: number;
  /** Host CPUs in use, QEMU's own threads included. */
  readonly cpus: number;
  /** Host CPUs that the job would use: what it has, or as many as it has tasks that want to run. */
  readonly cpuDemand: number;
  /** The most by which its resident memory grew within the time of a give-back, as far back as the samples go. */
  readonly riseBytes: number;
  /** By how much it grows in that time at its present rate. */
  readonly growthBytes: number;
  /** The same in the newest look or two: what a give-back is decided by. 0 when it shrinks. */
  readonly growthNowBytesPerSecond: number;
  /** As `cpuDemand`, in the newest look and report. */
  readonly cpuDemandNow: number;
  /** It was watched for as long as a give-back takes: only then is its growth known. */
  readonly isSettled: boolean;
  /** Shares of the time between the agent's last two reports; undefined: it has not reported for a while. */
  readonly stalls: Stalls | undefined;
}

/** Long enough for the ticks of /proc to be exact to some percent, short enough to see a job wake up. */
const RATE_MS = 3_000;
/** Ticks of /proc are 10 ms: two looks that are closer to each other say little. */
const NOW_MS = 400;
/** An agent reports each second; one that has been silent for this long stands still or is gone. */
const REPORT_HOLDS_MS = 4_000;

/**
 * `samples`, oldest first; `giveBackMs`, how long it takes to get lent memory back; `cpus`, the machine's own. Undefined without a sample.
 */
export function machineUsage(
  samples: readonly MachineSample[],
  options: { readonly giveBackMs: number; readonly cpus: number },
): MachineUsage | undefined {
  const now = samples.at(-1);
  const first = samples[0];
  if (!now || !first) return undefined;
  const recent = samples.filter(({ atMs }) => now.atMs - atMs <= RATE_MS);
  const from = recent[0] as MachineSample;
  const elapsedMs = now.atMs - from.atMs;
  const cpus = elapsedMs > 0 ? Math.max((now.cpuMs - from.cpuMs) / elapsedMs, 0) : 0;
  const bytesPerMs = elapsedMs > 0 ? Math.max((now.residentBytes - from.residentBytes) / elapsedMs, 0) : 0;
  const before = samples.findLast(({ atMs }) => now.atMs - atMs >= NOW_MS) ?? from;
  const sinceMs = now.atMs - before.atMs;
  const cpusNow = sinceMs > 0 ? Math.max((now.cpuMs - before.cpuMs) / sinceMs, 0) : 0;
  return {
    residentBytes: now.residentBytes,
    cpus,
    growthNowBytesPerSecond:
      sinceMs > 0 ? Math.max((1000 * (now.residentBytes - before.residentBytes)) / sinceMs, 0) : 0,
    cpuDemandNow: Math.max(cpusNow, Math.min(newestRunnable(now), options.cpus)),
    cpuDemand: Math.max(cpus, Math.min(runnableTasks(recent), options.cpus)),
    riseBytes: largestRise(samples, options.giveBackMs),
    growthBytes: bytesPerMs * options.giveBackMs,
    isSettled: now.atMs - first.atMs >= options.giveBackMs,
    stalls: lastStalls(samples),
  };
}

/** The largest growth of resident memory within `withinMs`, in bytes; 0 if it never grew. */
export function largestRise(samples: readonly MachineSample[], withinMs: number): number {
  let most = 0;
  for (const [i, later] of samples.entries())
    for (let j = i - 1; j >= 0; j--) {
      const earlier = samples[j] as MachineSample;
      if (later.atMs - earlier.atMs > withinMs) break;
      most = Math.max(most, later.residentBytes - earlier.residentBytes);
    }
  return most;
}

/** Mean over the reports: one report is a moment. */
function runnableTasks(samples: readonly MachineSample[]): number {
  const reports = samples.flatMap(({ atMs, guest }) =>
    guest && atMs - guest.atMs <= REPORT_HOLDS_MS ? [guest.runnableTasks] : [],
  );
  return reports.length > 0 ? reports.reduce((sum, tasks) => sum + tasks, 0) / reports.length : 0;
}

function newestRunnable({ atMs, guest }: MachineSample): number {
  return guest && atMs - guest.atMs <= REPORT_HOLDS_MS ? guest.runnableTasks : 0;
}

function lastStalls(samples: readonly MachineSample[]): Stalls | undefined {
  const now = samples.at(-1);
  const after = now?.guest;
  if (!now || !after?.stalls || now.atMs - after.atMs > REPORT_HOLDS_MS) return undefined;
  const before = samples.findLast(({ guest }) => guest && guest.atMs < after.atMs)?.guest;
  return before?.stalls && stallShares(before.stalls, after.stalls, after.atMs - before.atMs);
}
