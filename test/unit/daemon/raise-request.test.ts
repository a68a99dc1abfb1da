import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import {
  abandonRaise,
  finishRaises,
  prepareRaise,
  raiseRequest,
} from '../../../src/daemon/moving/raise-request.ts';

import { RaiseObstacle } from '../../../src/daemon/pressure/raise-obstacle.ts';

const MiB = 1024 ** 2;
const key = { scheduler: 'gridengine', jobId: '7', task: '1' } as const;
const request = {
  ...{ restartCount: 0, user: 'alice', uid: 1001, gid: 1001, cpus: 1, memoryBytes: 200 * MiB },
  ...{ queue: 'all.q', hosts: 1, requeueable: true, jobName: 'a', workDir: '/' },
};
const log = { info: () => undefined, warn: () => undefined, error: () => undefined };

describe('a request that is raised', () => {
  let stateDir: string;
  let calls: string[];
  let refuses: string | undefined;
  let obstacle: string | undefined;
  const raise = {
    obstacle: async () => {
      calls.push('check');
      return obstacle;
    },
    hold: async () => void calls.push('hold'),
    memory: async (_request: unknown, bytes: number) => {
      calls.push(`memory ${bytes / MiB}`);
      if (refuses !== undefined) throw new Error(refuses);
    },
    release: async ({ key: { jobId } }: { key: { jobId: string } }) => void calls.push(`release ${jobId}`),
  };
  const scheduler = { raise };
  const job = {
    ...{ key, scheduler, log, request: { ...request, key } },
    facts: { key, request, growth: { raisedBytes: 300 * MiB, requeues: 1 } },
  } as never;
  const nodeWith = (present: unknown) =>
    ({
      config: { state_dir: stateDir },
      ...{ log, schedulers: new Map([['gridengine', scheduler]]), jobs: { current: () => present } },
    }) as never;
  const notes = () => readdir(join(stateDir, 'raises'));

  beforeEach(async () => {
    stateDir = await mkdtemp(join(tmpdir(), 'caddis-raise-'));
    calls = [];
    refuses = undefined;
    obstacle = undefined;
  });
  afterEach(() => rm(stateDir, { recursive: true }));

  it('is written down before the job is held, and forgotten when it is released', async () => {
    await prepareRaise(nodeWith(job), job, 300 * MiB);
    expect(await notes()).toEqual(['gridengine-7.1.json']);
    await raiseRequest(nodeWith(job), job);
    expect(calls).toEqual(['check', 'hold', 'check', 'memory 300', 'release 7']);
    expect(await notes()).toEqual([]);
  });

  it('lets the job go whatever the scheduler says, and when it stays after all', async () => {
    refuses = 'denied';
    await prepareRaise(nodeWith(job), job, 300 * MiB);
    await raiseRequest(nodeWith(job), job);
    expect(calls.at(-1)).toBe('release 7');
    await prepareRaise(nodeWith(job), job, 300 * MiB);
    await abandonRaise(nodeWith(job), job);
    expect(calls.at(-1)).toBe('release 7');
    expect(await notes()).toEqual([]);
  });

  it('is gone on with by the next caddisd, unless the job is still here', async () => {
    await prepareRaise(nodeWith(job), job, 300 * MiB);
    calls = [];
    await finishRaises(nodeWith(job));
    expect(calls).toEqual([]);
    await finishRaises(nodeWith(undefined));
    await vi.waitFor(async () => expect(await notes()).toEqual([]));
    expect(calls).toEqual(['check', 'memory 300', 'release 7']);
  });

  it('is not begun where its scheduler takes no such word, and then nothing is held', async () => {
    obstacle = 'it is a task of an array';
    await expect(prepareRaise(nodeWith(job), job, 300 * MiB)).rejects.toThrow('task of an array');
    await raiseRequest(nodeWith(job), job);
    expect(calls).toEqual(['check', 'check']);
    await expect(notes()).rejects.toThrow('ENOENT');
  });

  it('is not asked for again and again where it cannot be', async () => {
    const known = new RaiseObstacle();
    obstacle = 'it is a task of an array';
    expect(known.known(0)).toBeUndefined();
    expect(await known.ask(job, 1_000)).toBe(obstacle);
    expect(known.known(60_000)).toBe(obstacle);
    // The site may have changed its mind.
    expect(known.known(700_000)).toBeUndefined();
    obstacle = undefined;
    expect(await known.ask(job, 700_000)).toBeUndefined();
    expect(known.known(700_001)).toBeUndefined();
  });

  it('is not released when it was never held', async () => {
    await raiseRequest(nodeWith(job), job);
    expect(calls).toEqual(['check', 'memory 300']);
  });
});
