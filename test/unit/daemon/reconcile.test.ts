import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { reconcile } from '../../../src/daemon/adopt.ts';

interface Job {
  machine: string;
  resources: { domain?: object };
}

/** Jobs are compared with libvirt's list once a minute, while others are started. */
describe('a job whose machine libvirt does not list', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'caddis-reconcile-'));
    await mkdir(join(dir, 'machines'));
    await mkdir(join(dir, 'jobs'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  async function lostOf(jobs: Job[], whileListing: () => void): Promise<string[]> {
    const lost: string[] = [];
    const config = {
      ...{ run_dir: dir, state_dir: dir, scratch: { dir }, network: { mode: 'none' }, checkpoint: {} },
    };
    const hypervisor = {
      machines: async () => {
        whileListing();
        return [];
      },
    };
    const node = {
      ...{ config, context: { hypervisor } },
      jobs: {
        all: () => [...jobs],
        byMachine: (name: string) => jobs.find(({ machine }) => machine === name),
      },
    };
    await reconcile(node as never, async (job) => void lost.push(job.machine));
    return lost;
  }

  it('is lost', async () => {
    const jobs = [{ machine: 'caddis-a', resources: { domain: {} } }];
    expect(await lostOf(jobs, () => undefined)).toEqual(['caddis-a']);
  });

  it('is not lost when it was made anew meanwhile', async () => {
    const job: Job = { machine: 'caddis-a', resources: { domain: {} } };
    const restored = () => {
      job.resources.domain = {};
    };
    expect(await lostOf([job], restored)).toEqual([]);
  });

  it('is not lost when the machine was made while libvirt drew up its list', async () => {
    const job: Job = { machine: 'caddis-a', resources: {} };
    const jobs = [job];
    const made = () => {
      job.resources.domain = {};
      jobs.push({ machine: 'caddis-b', resources: { domain: {} } });
    };
    expect(await lostOf(jobs, made)).toEqual([]);
  });
});
