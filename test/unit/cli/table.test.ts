import { describe, expect, it } from 'vitest';

import { table } from '../../../src/cli/table.ts';

describe('tables', () => {
  it('line up and end without blanks', () => {
    expect(
      table(
        ['job', 'memory'],
        [
          ['slurm-17', '1 GiB'],
          ['gridengine-2.1', ''],
        ],
      ),
    ).toBe('JOB             MEMORY\nslurm-17        1 GiB\ngridengine-2.1');
  });

  it("do nothing to a terminal that a job's name would have them do", () => {
    expect(table(['name'], [['\u001b]0;owned\u0007\nx']])).toBe('NAME\n?]0;owned? x');
  });

  it('have a header when they are empty', () => {
    expect(table(['a'], [])).toBe('A');
  });
});
