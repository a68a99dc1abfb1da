import { describe, expect, it } from 'vitest';

import { Job } from '../../../src/daemon/job.ts';
import { exec } from '../../../src/daemon/verbs/exec.ts';

/** What a job keeps of its steps' clients: a script may call srun a hundred thousand times. */
describe('clients of steps', () => {
  const log = { child: () => ({ debug: () => undefined }) };
  const identity = { name: 'alice', uid: 1001, gid: 1001, groups: [], passwd: '', groupLines: [] };
  let most = Number.POSITIVE_INFINITY;
  const opened: bigint[] = [];

  function newJob(): Job {
    const scheduler = {
      spoolDirs: [],
      readStep: ({ args }: { args: string[] }) => ({
        name: args[0],
        argv: args,
        env: {},
        cwd: '/',
        carry: [],
      }),
    };
    const facts = { machine: 'caddis-a', key: { scheduler: 'slurm', jobId: '7', task: '0' }, request: {} };
    const job = new Job({
      facts,
      scheduler,
      identity,
      log,
      places: {},
      execute: async () => undefined,
    } as never);
    job.resources.guest = {
      openStep: (id: bigint) => {
        if (opened.length >= most) throw new RangeError('too many sessions');
        opened.push(id);
      },
    } as never;
    return job;
  }
  const step = (job: Job, name: string) =>
    exec(
      job,
      {
        verb: 'exec',
        args: [name],
        env: {},
        cpus: [],
        groups: [],
        rlimits: [],
        stdio: [],
        pid: 2 ** 22,
      } as never,
      { peer: {} } as never,
    );

  it('are forgotten with their steps, but for the main one', async () => {
    opened.length = 0;
    const job = newJob();
    await step(job, 'batch');
    for (let i = 0; i < 5; i++) await step(job, `${i}`);
    expect(job.shims.size).toBe(6);
    for (const session of opened) job.forgetStep(session);
    expect([...job.shims.values()].map(({ args }) => args)).toEqual([['batch']]);
    expect([...job.given.keys()]).toEqual([opened[0]]);
  });

  it('are not kept of a step that was refused', async () => {
    opened.length = 0;
    most = 0;
    const job = newJob();
    await expect(step(job, '0')).rejects.toThrow('too many sessions');
    expect([job.shims.size, job.given.size]).toEqual([0, 0]);
  });
});
