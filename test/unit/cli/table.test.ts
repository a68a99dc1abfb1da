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

  it('have a header when they are empty', () => {
    expect(table(['a'], [])).toBe('A');
  });
});
