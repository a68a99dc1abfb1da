import { describe, expect, it } from 'vitest';

import { parseIdleMs, parseMeminfo, parseProcessStat, parseRunnable } from '../../../src/pressure/proc.ts';
import { parsePsi, stallShares } from '../../../src/pressure/psi.ts';

describe('proc', () => {
  it('reads a process whose name has blanks and parentheses', () => {
    const text =
      '4242 (qemu) (x) S 1 4242 4242 0 -1 138412352 99 0 0 0 1234 66 0 0 20 0 5 0 88120 1500000 74000 1844 1 1 0 0 0 0';
    expect(parseProcessStat(text)).toEqual({
      cpuMs: 13_000,
      startTicks: '88120',
      residentBytes: 74_000 * 4096,
    });
    expect(parseProcessStat('')).toBeUndefined();
  });

  it('reads memory, idle time and tasks', () => {
    expect(parseMeminfo('MemTotal:       24683672 kB\nMemFree: 1 kB\nMemAvailable:   23747584 kB\n')).toEqual(
      {
        totalBytes: 24_683_672 * 1024,
        availableBytes: 23_747_584 * 1024,
      },
    );
    expect(parseIdleMs('cpu  100 0 50 4000 25 0 0 0 0 0\ncpu0 1 2 3 4 5\n')).toBe(40_250);
    expect([
      parseRunnable('0.10 0.05 0.01 3/80 411'),
      parseRunnable('0.00 0.00 0.00 1/60 9'),
      parseRunnable(''),
    ]).toEqual([2, 0, 0]);
  });
});

describe('PSI', () => {
  it('reads what is there, and nothing from what is none', () => {
    const lines = [
      'cpu some avg10=1.00 avg60=0.50 avg300=0.10 total=12345',
      'io full avg10=0.00 total=7',
      'x',
      '',
    ];
    expect(parsePsi(lines)).toMatchObject({ cpu: { some: 12345, full: 0 }, io: { some: 0, full: 7 } });
    expect(parsePsi(['memory some total=-1', 'garbage'])).toBeUndefined();
  });

  it('gives shares of the time between, never below 0 or above 1', () => {
    const at = (total: number) =>
      parsePsi([`memory full avg10=0.00 total=${total}`]) as NonNullable<ReturnType<typeof parsePsi>>;
    expect(stallShares(at(0), at(300_000), 1_000).memory.full).toBeCloseTo(0.3);
    expect(stallShares(at(9), at(3), 1_000).memory.full).toBe(0);
    expect(stallShares(at(0), at(9_000_000), 1_000).memory.full).toBe(1);
    expect(stallShares(at(0), at(9), 0).memory.full).toBe(0);
  });
});
