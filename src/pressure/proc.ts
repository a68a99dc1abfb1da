/** Texts of proc(5) as numbers. The reading is the sampler's. */

/** USER_HZ is 100 on every Linux that libvirt runs on (sysconf(3) would say the same). */
const MS_PER_TICK = 10;
const PAGE_BYTES = 4096;

/** CPU time of a process in milliseconds, its resident memory, and its start time, which tells it from a later one with the same pid. Undefined for a text that is no /proc/PID/stat. */
export function parseProcessStat(
  text: string,
): { readonly cpuMs: number; readonly startTicks: string; readonly residentBytes: number } | undefined {
  // The name in parentheses may hold anything.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [user, system, startTicks] = [fields[11], fields[12], fields[19]];
  const ticks = Number(user) + Number(system);
  return startTicks === undefined || !Number.isFinite(ticks)
    ? undefined
    : { cpuMs: ticks * MS_PER_TICK, startTicks, residentBytes: (Number(fields[21]) || 0) * PAGE_BYTES };
}

/** MemTotal and MemAvailable of /proc/meminfo in bytes. */
export function parseMeminfo(text: string): { readonly totalBytes: number; readonly availableBytes: number } {
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024;
  return { totalBytes: of('MemTotal'), availableBytes: of('MemAvailable') };
}

/** Milliseconds for which the CPUs of /proc/stat were idle, all together; waiting for a disk is idle. */
export function parseIdleMs(text: string): number {
  const fields = /^cpu +(.*)$/m.exec(text)?.[1]?.split(' ').map(Number) ?? [];
  return ((fields[3] ?? 0) + (fields[4] ?? 0)) * MS_PER_TICK;
}

/** Tasks that run or want to, from /proc/loadavg (`0.10 0.05 0.01 2/80 411`), less the one that read it. */
export function parseRunnable(text: string): number {
  return Math.max(Number(/ (\d+)\/\d+ /.exec(text)?.[1] ?? 1) - 1, 0);
}
