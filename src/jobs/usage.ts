import type { Usage } from '../model/usage.ts';

export const NO_USAGE: Usage = {
  userMs: 0,
  systemMs: 0,
  heldPeakBytes: 0,
  memoryPeakBytes: 0,
  hostCpuMs: 0,
};

/** What one run used of a job's total. Peaks are the machine's: it does not forget them when it moves. */
export function usageSince(total: Usage, before: Usage | undefined): Usage {
  if (!before) return total;
  const more = (name: 'userMs' | 'systemMs' | 'hostCpuMs') => Math.max(0, total[name] - before[name]);
  return { ...total, userMs: more('userMs'), systemMs: more('systemMs'), hostCpuMs: more('hostCpuMs') };
}

/** A guest that says less than this share of what its QEMU used is not believed: an emulated one that works says nearly all. */
const BELIEVED_SHARE = 0.5;
/** Boot and idling of a machine. */
const OWN_MS = 60_000;

/** CPU time that is held against a limit, in milliseconds: the guest's word, as long as the host does not see far more. */
export function limitedCpuMs({ userMs, systemMs, hostCpuMs }: Usage): number {
  const said = userMs + systemMs;
  const seen = hostCpuMs - OWN_MS;
  return said < BELIEVED_SHARE * seen ? seen : said;
}

/** Limits on a job's CPU time, all its processes together, in milliseconds; undefined: none. */
export interface CpuLimits {
  /** Its processes get SIGXCPU. */
  readonly softMs?: number | undefined;
  /** They get SIGKILL. */
  readonly hardMs?: number | undefined;
}

export function cpuLimitReached(usage: Usage, { softMs, hardMs }: CpuLimits): 'hard' | 'soft' | undefined {
  const usedMs = limitedCpuMs(usage);
  if (hardMs !== undefined && usedMs >= hardMs) return 'hard';
  return softMs !== undefined && usedMs >= softMs ? 'soft' : undefined;
}
