import { createHash } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import { lastWords, outputTrouble, readRuns } from '../../fault/machines/judge.ts';
import { pointOf } from '../../fault/machines/rules.ts';

/** Lines as counter.py writes them. */
function counted(run: string, lines: number): string[] {
  const seen = createHash('sha256');
  return Array.from({ length: lines }, (_, index) => {
    const line = `${run} ${index + 1} ${seen.copy().digest('hex').slice(0, 16)}\n`;
    seen.update(line);
    return line;
  });
}

const A = counted('aaaaaaaa', 5);
const B = counted('bbbbbbbb', 3);

describe('the lines of a counting job', () => {
  it('are counted by runs', () => {
    expect(readRuns([...A, ...B].join(''))).toEqual({
      runs: [
        { name: 'aaaaaaaa', lines: 5 },
        { name: 'bbbbbbbb', lines: 3 },
      ],
      wrong: undefined,
    });
  });

  it.each([
    ['lost', [...A.slice(0, 2), ...A.slice(3)], /says 4 after 2/],
    ['written twice', [...A.slice(0, 3), A[2] as string], /says 3 after 3/],
    ['changed', [...A.slice(0, 4), (A[4] as string).replace(/.\n$/, 'x\n')], /no line of the counter/],
    ['of another history', [A[0] as string, (B[1] as string).replace('bbbbbbbb', 'aaaaaaaa')], /other lines/],
    ['of two copies', [...A.slice(0, 3), B[0] as string, ...A.slice(3)], /two copies/],
  ])('that are %s are found', (_what, lines, wrong) => {
    expect(readRuns(lines.join('')).wrong).toMatch(wrong);
  });

  it('must all be in the output, once', () => {
    const runs = [{ name: 'aaaaaaaa', lines: 5 }];
    const whole = A.join('') + lastWords({ name: 'aaaaaaaa', lines: 5 });
    expect(outputTrouble(whole, { runs, appended: false })).toBeUndefined();
    expect(outputTrouble(whole.slice(1), { runs, appended: false })).toBeDefined();
    expect(outputTrouble(B.join('') + whole, { runs, appended: false })).toMatch(/earlier run/);
    const both = [{ name: 'bbbbbbbb', lines: 3 }, ...runs];
    expect(outputTrouble(B.join('') + whole, { runs: both, appended: true })).toBeUndefined();
  });
});

it('names the steps of a save by what their files are', () => {
  const job = '/var/lib/caddis-lab/store/jobs/slurm-1';
  expect(pointOf('rename', `${job}/generations/2`)).toBe('rename generation');
  expect(pointOf('write', `${job}/generations/.2-0123456789ab/memory`)).toBe('write draft/memory');
  expect(pointOf('writeFile', `${job}/claims/3.released`)).toBe('writeFile claim release');
  expect(pointOf('writeFile', '/var/lib/caddis-lab/store/nodes/.n1-0123')).toBeUndefined();
});
