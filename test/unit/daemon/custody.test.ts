import { describe, expect, it, vi } from 'vitest';

import type { Job } from '../../../src/daemon/job.ts';
import { Custody } from '../../../src/daemon/moving/custody.ts';
import { newWorld, STORE } from '../../fault/store/world.ts';

/** Leases of the jobs that one node holds. */
describe('custody', () => {
  function jobOf(jobId: string) {
    const leases: number[] = [];
    const warnings: string[] = [];
    const job = {
      ...{ key: { scheduler: 'slurm', jobId, task: '0' }, machine: `caddis-${jobId}` },
      ...{
        facts: { incarnation: `slurm-${jobId}@n1/0` },
        log: { warn: (text: string) => warnings.push(text) },
      },
      resources: { guest: { lease: (ms: number) => leases.push(ms) } },
    } as unknown as Job;
    return { job, leases, warnings };
  }

  it('goes on renewing the others when one claim is damaged', async () => {
    const { io } = await newWorld();
    const overtaken: Job[] = [];
    const log = { warn: () => undefined, info: () => undefined } as never;
    const options = {
      leaseMs: 60_000,
      heartbeatMs: 10,
      log,
      overtaken: (job: Job) => void overtaken.push(job),
    };
    const custody = new Custody({ io, store: STORE, ...options });
    const [first, second] = [jobOf('1'), jobOf('2')];
    await custody.take(first.job);
    await custody.take(second.job);
    const claim = `${STORE}/jobs/slurm-1/claims/1`;
    await io.unlink(claim);
    await io.create(claim, Buffer.from('{"host":'));
    await custody.start();
    try {
      await vi.waitFor(() => expect(second.leases.length).toBeGreaterThan(1));
    } finally {
      custody.stop();
    }
    expect(first.leases).toEqual([]);
    expect(first.warnings[0]).toMatch(/its lease is not renewed: .*expected a claim, it is damaged/);
    expect(overtaken).toEqual([]);
  });
});
