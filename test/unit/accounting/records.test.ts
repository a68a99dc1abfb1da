import { appendFile, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, it } from 'vitest';

import { EndedJobs } from '../../../src/daemon/accounting/ended-jobs.ts';
import type { EndedJob } from '../../../src/model/usage.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'caddis-ended-'));
});
afterEach(() => rm(dir, { recursive: true }));

const job = (number: number, uid = 1001): EndedJob => ({
  ...{ job: `slurm-${number}`, job_name: 'a', user: `u${uid}`, uid, queue: 'main' },
  ...{ ended_at: '2026-01-01T00:00:00.000Z', wall_seconds: 1, cpus: 1, cpu_seconds: 1 },
  ...{ cpu_efficiency: 1, host_cpu_seconds: 1, memory_limit_bytes: 1, memory_asked: null },
  ...{ memory_held_peak_bytes: 1, memory_peak_bytes: 1, oom_kills: 0 },
});
const names = (jobs: readonly EndedJob[]) => jobs.map(({ job: name }) => name);

it('keeps the last jobs, newest first, for root alone, and forgets the oldest', async () => {
  const path = join(dir, 'sub', 'ended.jsonl');
  const jobs = new EndedJobs(path, 3);
  for (let i = 1; i <= 7; i++) await jobs.add(job(i, i % 2 ? 1001 : 1002));
  expect(names(await jobs.last(2, () => true))).toEqual(['slurm-7', 'slurm-6']);
  expect(names(await jobs.last(9, ({ uid }) => uid === 1002))).toEqual(['slurm-6', 'slurm-4']);
  expect(names(await jobs.last(9, () => true))).toHaveLength(4);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(join(dir, 'sub'))).toEqual(['ended.jsonl']);
});

it('is the same to the next caddisd, and passes a torn line over', async () => {
  const path = join(dir, 'ended.jsonl');
  await new EndedJobs(path, 3).add(job(1));
  await appendFile(path, '{"job":"slurm-2"');
  const next = new EndedJobs(path, 3);
  expect(names(await next.last(9, () => true))).toEqual(['slurm-1']);
  expect([...(await next.users())]).toEqual([1001]);
  expect(await readFile(path, 'utf8')).toContain('slurm-1');
  await next.add(job(3));
  expect(names(await next.last(9, () => true))).toEqual(['slurm-3', 'slurm-1']);
});
