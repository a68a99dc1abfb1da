import { expect, it } from 'vitest';

import { noteHostCpu, usageOf } from '../../../src/daemon/accounting/tally.ts';
import { Job } from '../../../src/daemon/job.ts';
import type { Usage } from '../../../src/model/usage.ts';
import type { MachineFacts } from '../../../src/vm/metadata.ts';

const USED: Usage = {
  ...{ userMs: 3_000, systemMs: 1_000, hostCpuMs: 9_000 },
  ...{ heldPeakBytes: 10, memoryPeakBytes: 20 },
};

function jobWith(facts: Partial<MachineFacts>): Job {
  const request = {
    ...{ restartCount: 0, user: 'a', uid: 1, gid: 1, queue: 'q', hosts: 1, requeueable: true },
    ...{ jobName: 'a', workDir: '/' },
  };
  const key = { scheduler: 'slurm', jobId: '1', task: '0' } as const;
  return new Job({
    facts: {
      ...{ version: 1, machine: 'caddis-1', key, incarnation: 'i', request, image: '' },
      ...{ acceleration: 'tcg', startedAt: '2026-01-01T00:00:00Z', ready: true, ...facts },
    },
    log: { child: () => undefined },
    execute: async () => undefined,
  } as unknown as ConstructorParameters<typeof Job>[0]);
}

function says(job: Job, userMs: number, systemMs: number): void {
  const used = {
    ...{ userMicroseconds: 1000 * userMs, systemMicroseconds: 1000 * systemMs },
    ...{ memoryBytes: 1, memoryPeakBytes: 30, heldBytes: 1, heldPeakBytes: 15 },
  };
  job.report = { used } as Job['report'];
}

it('is what the guest says, but no more than its QEMU had since the boot', () => {
  const job = jobWith({ bootCpuMs: 2_000 });
  noteHostCpu(job, { startTicks: '1' }, 12_000);
  says(job, 6_000, 2_000);
  expect(usageOf(job)).toEqual({
    ...{ userMs: 6_000, systemMs: 2_000, hostCpuMs: 12_000 },
    ...{ heldPeakBytes: 15, memoryPeakBytes: 30 },
  });
  says(job, 15_000, 5_000);
  expect(usageOf(job)).toMatchObject({ userMs: 7_500, systemMs: 2_500 });
});

it('goes on where the checkpoint was, and adds up the QEMU of every node', () => {
  const job = jobWith({ bootCpuMs: 2_000, used: USED, usedBefore: USED, hostCpuBeforeMs: 9_000 });
  expect(usageOf(job)).toEqual(USED);
  noteHostCpu(job, { startTicks: '7' }, 1_000);
  says(job, 4_000, 1_500);
  expect(usageOf(job)).toMatchObject({ userMs: 4_000, systemMs: 1_500, hostCpuMs: 10_000 });
  // Released and restored on the same node: another process.
  noteHostCpu(job, { startTicks: '8' }, 500);
  expect(usageOf(job).hostCpuMs).toBe(10_500);
});

it('is not held against a QEMU that was not seen yet', () => {
  const job = jobWith({});
  says(job, 4_000, 0);
  expect(usageOf(job)).toMatchObject({ userMs: 4_000, hostCpuMs: 0 });
});
