import { describe, expect, it } from 'vitest';

import { parseTscKhz } from '../../../src/vm/time-stamp-counter.ts';

const cpuinfo = (mhz: string, bogomips: string, flags = 'fpu tsc constant_tsc nopl') =>
  `processor\t: 0\ncpu MHz\t\t: ${mhz}\nflags\t\t: ${flags}\nbogomips\t: ${bogomips}\n\nprocessor\t: 1\nbogomips\t: 1.00\n`;

describe('the rate of the time stamp counter', () => {
  it('is that of the counter, not of the CPU at this moment', () => {
    expect(parseTscKhz(cpuinfo('800.000', '5192.29'))).toBe(2_596_145);
  });

  it.each([
    ['', 'no text'],
    [cpuinfo('2596.146', '5192.29', 'fpu tsc'), 'a counter that follows the CPU clock'],
    [cpuinfo('2596.146', '62.50'), 'a delay loop that was measured'],
    [cpuinfo('2596.146', 'many'), 'no number'],
  ])('is not guessed: %#', (text) => {
    expect(parseTscKhz(text)).toBeUndefined();
  });
});
