import { readFile } from 'node:fs/promises';

/** A guess that is off is worse than none. */
const PLAUSIBLE_KHZ = { least: 100_000, most: 10_000_000 };

/**
 * kHz of the host's time stamp counter, from /proc/cpuinfo; undefined where it does not say. On x86 the kernel presets the delay loop by that counter
 * (arch/x86/kernel/tsc.c: lpj_fine), so that bogomips is twice its MHz, whatever the CPU's clock does at the moment; measured here: 5192.29 for a counter of 2596.144 MHz.
 */
export function parseTscKhz(cpuinfo: string): number | undefined {
  const flags = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1]?.split(' ') ?? [];
  const khz = Math.round((Number(/^bogomips\s*:\s*([\d.]+)$/m.exec(cpuinfo)?.[1]) * 1000) / 2);
  const isUsable = flags.includes('constant_tsc') && khz >= PLAUSIBLE_KHZ.least && khz <= PLAUSIBLE_KHZ.most;
  return isUsable ? khz : undefined;
}

export async function hostTscKhz(): Promise<number | undefined> {
  return parseTscKhz(await readFile('/proc/cpuinfo', 'latin1').catch(() => ''));
}
