import { describe, expect, it } from 'vitest';

import { isForBatchShell } from '../../../src/scheduler/slurm/batch-signals.ts';
import { StepdWords } from '../../../src/scheduler/slurm/stepd-words.ts';

const missing = { errno: 2, message: 'execve(): a: b: No such file or directory' };

describe('StepdWords', () => {
  it('names the node where Slurm was built with MULTIPLE_SLURMD, and asks until it is answered, then no more', async () => {
    const asked: string[] = [];
    const words = new StepdWords('n1', async (argv) => {
      asked.push(argv.join(' '));
      if (asked.length === 1) throw new Error('no controller');
      return 'Configuration data as of ...\nMULTIPLE_SLURMD         = Yes\n';
    });
    await words.learn();
    expect(words.errorPrefix()).toBe('slurmstepd: error: ');
    await words.learn();
    await words.learn();
    expect(asked).toEqual(['scontrol show config', 'scontrol show config']);
    expect(words.sayNotStarted(missing)).toEqual({
      message: 'slurmstepd-n1: error: execve(): a: b: No such file or directory',
      status: 2,
    });
  });

  it('names no node otherwise, and says reasons as glibc does', async () => {
    const words = new StepdWords('n1', async () => 'MULTIPLE_SLURMD = No\n');
    await words.learn();
    expect(words.sayNotStarted({ errno: 40, message: 'execve(): x: Symbolic link loop' })).toEqual({
      message: 'slurmstepd: error: execve(): x: Too many levels of symbolic links',
      status: 40,
    });
  });
});

describe('isForBatchShell', () => {
  it('leaves what ends or suspends a job to all of its processes, and steps as they are', () => {
    expect(
      ['batch', '0'].flatMap((step) => [10, 12, 15, 18, 20].map((signal) => isForBatchShell(step, signal))),
    ).toEqual([...[true, true, false, false, false], ...[false, false, false, false, false]]);
  });
});
