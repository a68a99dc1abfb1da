import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { adopt } from '../../../src/daemon/adopt.ts';

/** A caddisd that is started again takes over what runs; libvirtd may be started again at the same moment. */
describe('adoption', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'caddis-adopt-'));
    await mkdir(join(dir, 'machines'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it("holds no guest's connection when an attempt fails: the next one needs it", async () => {
    const { uid, gid, username: user } = userInfo();
    const key = { scheduler: 'slurm', jobId: '7', task: '0' };
    const facts = {
      ...{ version: 1, key, machine: 'caddis-a', incarnation: 'slurm-7@n1/0', ready: true },
      request: { hosts: 2, uid, gid, user, restartCount: 0, cpus: 1, memoryBytes: 1 },
    };
    let connections = 0;
    const log = { child: () => log, info: () => undefined, warn: () => undefined };
    const config = { run_dir: dir, state_dir: dir, network: { mode: 'none' }, checkpoint: {} };
    const node = {
      ...{ config, log, schedulers: new Map([['slurm', {}]]), jobs: { byMachine: () => undefined } },
      context: {
        ...{ config, qemuOwner: { uid, gid }, checkpoints: undefined },
        hypervisor: {
          machines: async () => [{ domain: { name: 'caddis-a' }, facts }],
          isPaused: async () => Promise.reject(new Error('libvirtd went away')),
        },
        connectGuest: () => {
          connections += 1;
          return { resume: () => undefined, watch: () => undefined };
        },
      },
    };
    await expect(adopt(node as never)).rejects.toThrow('libvirtd went away');
    expect(connections).toBe(0);
  });
});
