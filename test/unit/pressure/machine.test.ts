import { describe, expect, it } from 'vitest';

import { History } from '../../../src/pressure/history.ts';
import { largestRise, machineUsage } from '../../../src/pressure/machine.ts';
import { parsePsi } from '../../../src/pressure/psi.ts';
import type { MachineSample } from '../../../src/pressure/sample.ts';

const MiB = 1024 * 1024;
const options = { giveBackMs: 10_000, cpus: 2 };

/** A sample a second of resident MiB, with that many CPUs in use. */
function series(residentMib: readonly number[], cpus = 0): MachineSample[] {
  return residentMib.map((mib, i) => ({
    atMs: 5_000 + 1_000 * i,
    residentBytes: mib * MiB,
    cpuMs: 7_000 + 1_000 * i * cpus,
    guest: undefined,
  }));
}

describe('machineUsage', () => {
  it('knows nothing without a sample, and no rate with one', () => {
    expect(machineUsage([], options)).toBeUndefined();
    expect(machineUsage(series([100], 1), options)).toMatchObject({
      cpus: 0,
      growthBytes: 0,
      isSettled: false,
    });
  });

  it('gives CPUs and growth of the last seconds', () => {
    const usage = machineUsage(series([...Array(20).fill(300), 400, 500, 600], 1.5), options);
    expect(usage).toMatchObject({ residentBytes: 600 * MiB, riseBytes: 300 * MiB, isSettled: true });
    expect(usage?.cpus).toBeCloseTo(1.5);
    expect(usage?.growthNowBytesPerSecond).toBeCloseTo(100 * MiB);
    expect(usage?.cpuDemandNow).toBeCloseTo(1.5);
    // 100 MiB a second, for ten seconds.
    expect(usage?.growthBytes).toBeCloseTo(1000 * MiB);
  });

  it('remembers a rise that is over, not one that took longer than a give-back', () => {
    const samples = series([100, 300, 300, ...Array(30).fill(300)]);
    expect(machineUsage(samples, options)).toMatchObject({ riseBytes: 200 * MiB, growthBytes: 0 });
    const slow = series(Array.from({ length: 60 }, (_, i) => 100 + i));
    expect(largestRise(slow, 10_000)).toBe(10 * MiB);
    expect(largestRise(series([300, 200, 100]), 10_000)).toBe(0);
  });

  it('takes stalls from two reports, and none from an agent that has fallen silent', () => {
    const guest = (atMs: number, total: number) => ({
      ...{ atMs, availableBytes: 0, totalBytes: 0, runnableTasks: 3, oomKills: 0 },
      stalls: parsePsi([`memory some avg10=0.00 avg60=0.00 avg300=0.00 total=${total}`]),
    });
    const [a, b, c] = series([1, 1, 1], 0.1) as [MachineSample, MachineSample, MachineSample];
    const live = [
      { ...a, guest: guest(a.atMs, 0) },
      { ...b, guest: guest(b.atMs, 250_000) },
    ];
    const usage = machineUsage(live, options);
    expect(usage?.stalls?.memory.some).toBeCloseTo(0.25);
    expect(usage?.cpuDemand).toBe(2);
    const silent = machineUsage(
      [...live, { ...c, atMs: b.atMs + 6_000, guest: guest(b.atMs, 250_000) }],
      options,
    );
    expect(silent?.stalls).toBeUndefined();
    expect(silent?.cpuDemand).toBeLessThan(1);
  });
});

describe('History', () => {
  it('keeps the newest, no more than it may', () => {
    const history = new History<{ atMs: number }>(3);
    for (let atMs = 0; atMs < 10; atMs++) history.add({ atMs });
    expect(history.all().map(({ atMs }) => atMs)).toEqual([7, 8, 9]);
  });
});
