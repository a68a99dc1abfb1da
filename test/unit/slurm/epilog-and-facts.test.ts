import { describe, expect, it } from 'vitest';

import { createSlurm } from '../../../src/scheduler/slurm/index.ts';
import { recorded } from './fixtures.ts';

const slurm = () =>
  createSlurm({
    binDir: '/nonexistent',
    spoolDir: '/var/spool/slurmd',
    environment: {},
    node: 'n1',
    run: async () => {
      throw new Error('no command expected');
    },
  });

describe('readEpilog', () => {
  it('tells a requeue by the restart count that grew since the prolog', () => {
    const { restartCount } = slurm().readProlog(recorded('prolog-requeued'));
    // Another caddisd than that of the prolog may be asked.
    expect(slurm().readEpilog(recorded('epilog-requeued'), () => restartCount)).toMatchObject({
      key: { jobId: '38' },
      requeued: true,
    });
  });

  it('takes an end for an end, also of a job that has no machine here', () => {
    const { restartCount } = slurm().readProlog(recorded('prolog-batch'));
    expect(slurm().readEpilog(recorded('epilog-batch'), () => restartCount).requeued).toBe(false);
    expect(slurm().readEpilog(recorded('epilog-requeued'), () => undefined).requeued).toBe(false);
  });
});

describe('readFacts', () => {
  const read = (...args: string[]) => slurm().readFacts({ ...recorded('facts'), args });

  it('reads what the plugin sent', () => {
    expect(slurm().readFacts(recorded('facts'))).toEqual({
      key: { scheduler: 'slurm', jobId: '1', task: '0' },
      memoryBytes: 300 * 1024 * 1024,
      cpus: 1,
    });
  });

  it("takes the job's cores where a step has fewer", () => {
    expect(read('slurm', '7', 'memory_mb=0', 'cpus=1', 'cores=0-2,5', 'restart=0')).toMatchObject({
      cpus: 4,
      memoryBytes: undefined,
    });
  });

  it('refuses what is no number', () => {
    expect(() => read('slurm', '7', 'memory_mb=1e9', 'cpus=1')).toThrow(/memory_mb.*"1e9"/);
    expect(() => read('slurm', 'x', 'memory_mb=1', 'cpus=1')).toThrow(/job id/);
    expect(() => read('gridengine', '7')).toThrow(/facts slurm/);
  });
});
