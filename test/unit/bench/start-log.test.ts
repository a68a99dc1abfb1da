import { describe, expect, it } from 'vitest';

import { startsIn } from '../../bench/start-log.ts';
import { median, medianParts } from '../../bench/statistics.ts';

const at = (ms: number) => new Date(Date.UTC(2026, 0, 1) + ms).toISOString();
const line = (ms: number, key: string, text: string) => `${at(ms)} info [${key} ${key}@n1/0-abcd] ${text}\n`;

describe('startsIn', () => {
  it('finds each start with its parts and its first step', () => {
    const log =
      line(0, 'slurm-1', 'machine ready in 30 ms {"define":10,"boot":20}') +
      line(3, 'gridengine-2.1', 'machine ready in 5 ms {"boot":5}') +
      line(7, 'slurm-1', 'ready -> running (step-opened)') +
      line(9, 'slurm-1', 'running -> running (step-opened)');
    const starts = startsIn(log);
    expect([...starts.keys()]).toEqual(['slurm-1']);
    expect(starts.get('slurm-1')?.partsMs).toEqual({ define: 10, boot: 20 });
    expect((starts.get('slurm-1')?.stepAt ?? 0) - (starts.get('slurm-1')?.readyAt ?? 0)).toBe(7);
  });

  it('takes the last start of a job that was requeued', () => {
    const log =
      line(0, 'slurm-1', 'machine ready in 1 ms {"boot":1}') +
      line(1, 'slurm-1', 'ready -> running (step-opened)') +
      line(5, 'slurm-1', 'machine ready in 2 ms {"boot":2}') +
      line(6, 'slurm-1', 'ready -> running (step-opened)');
    expect(startsIn(log).get('slurm-1')?.partsMs).toEqual({ boot: 2 });
  });
});

describe('median', () => {
  it('is the middle, or between the two in the middle', () => {
    expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5]);
    expect(() => median([])).toThrow(/no values/);
  });

  it('of parts counts a part that is not there as 0', () => {
    expect(medianParts([{ a: 1, b: 4 }, { a: 3 }])).toEqual({ a: 2, b: 2 });
  });
});
