import { describe, expect, it, vi } from 'vitest';

import { Claims } from '../../../src/checkpoint/claims.ts';
import type { Job } from '../../../src/daemon/job.ts';
import { Custody } from '../../../src/daemon/moving/custody.ts';
import { HOLDER_B } from '../../fault/store/scenarios.ts';
import { newWorld, STORE } from '../../fault/store/world.ts';

/** Leases and claims of the jobs that one node holds. */
describe('custody', () => {
  async function node() {
    const { io } = await newWorld();
    const overtaken: Job[] = [];
    const log = { warn: () => undefined, info: () => undefined } as never;
    const options = {
      leaseMs: 60_000,
      heartbeatMs: 10,
      log,
      overtaken: (job: Job) => void overtaken.push(job),
    };
    return { io, overtaken, custody: new Custody({ io, store: STORE, ...options }) };
  }
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
  async function beatUntil(custody: Custody, seen: () => void): Promise<void> {
    await custody.start();
    try {
      await vi.waitFor(seen);
    } finally {
      custody.stop();
    }
  }

  it('goes on renewing the others when one claim is damaged', async () => {
    const { io, custody, overtaken } = await node();
    const [first, second] = [jobOf('1'), jobOf('2')];
    await custody.take(first.job);
    await custody.take(second.job);
    const claim = `${STORE}/jobs/slurm-1/claims/1`;
    await io.unlink(claim);
    await io.create(claim, Buffer.from('{"host":'));
    await beatUntil(custody, () => expect(second.leases.length).toBeGreaterThan(1));
    expect(first.leases).toEqual([]);
    expect(first.warnings[0]).toMatch(/its lease is not renewed: .*expected a claim, it is damaged/);
    expect(overtaken).toEqual([]);
  });

  it('has a machine that was taken over at the second attempt once', async () => {
    const { io, custody, overtaken } = await node();
    const [before, first, second] = [jobOf('1'), jobOf('1'), jobOf('1')];
    await custody.take(before.job);
    expect(await custody.adopt(first.job)).toBe('ours');
    expect(await custody.adopt(second.job)).toBe('ours');
    await new Claims(io, STORE).acquire(second.job.key, HOLDER_B, 1);
    await beatUntil(custody, () => expect(overtaken).toContain(second.job));
    expect(overtaken).toEqual([second.job]);
  });
});
