import { describe, expect, it } from 'vitest';

import { createSlurm } from '../../../src/scheduler/slurm/index.ts';
import { printed, recorded } from './fixtures.ts';

/** `job`: what scontrol says, for those that ask. */
const slurm = (job?: string) =>
  createSlurm({
    binDir: '/nonexistent',
    spoolDir: '/var/spool/slurmd',
    environment: {},
    node: 'n1',
    run: async () => {
      if (job === undefined) throw new Error('no command expected');
      return job;
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

describe('a start whose prolog slurmd left out', () => {
  const key = { scheduler: 'slurm', jobId: '38', task: '0' } as const;
  const again = printed('show-job-batch').replace('Restarts=0', 'Restarts=1');
  const signal = AbortSignal.timeout(5_000);
  const said = { vm: undefined };
  const ask = (job?: string, scheduler = slurm(job)) => scheduler.withoutProlog?.(key, said, signal);

  it('is told by the plugin', () => {
    const args = ['slurm', '38', 'memory_mb=400', 'cpus=2', 'cores=0-1', 'restart=0', 'prolog=missed', 'vm='];
    expect(slurm().readFacts({ ...recorded('facts'), args }).unheralded).toEqual(said);
    expect(slurm().readFacts({ ...recorded('facts'), args: args.slice(0, 6) }).unheralded).toBeUndefined();
  });

  it('is asked of slurmctld, as the prolog would have said it', async () => {
    const {
      restartCount: _,
      jobName: __,
      checkpointMs: ___,
      ...prolog
    } = slurm().readProlog(recorded('prolog-requeued'));
    expect(await ask(again)).toMatchObject({ ...prolog, restartCount: 1, jobName: 'my job name' });
  });

  it('is not made up for when its prolog was here, at a first start, and never in doubt', async () => {
    const scheduler = slurm(again);
    scheduler.readProlog(recorded('prolog-requeued'));
    expect(await ask(again, scheduler)).toBeUndefined();
    scheduler.readEpilog(recorded('epilog-requeued'), () => 0);
    expect(await ask(again, scheduler)).toMatchObject({ restartCount: 1 });
    // Once.
    expect(await ask(again, scheduler)).toBeUndefined();
    expect(await ask(printed('show-job-batch'))).toBeUndefined();
    await expect(ask(again.replace('my job name', 'x Restarts=0'))).rejects.toThrow(/clearly that job 38/);
    await expect(ask(again.replace(' NodeList=n1', ' NodeList=n2'))).rejects.toThrow(/on n1/);
  });
});
