import { readdir, readFile, readlink, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';

import { hookClient } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { type BatchSystem, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { startJob } from '../support/machines.ts';

const SYSTEMS: readonly BatchSystem[] = ['slurm', 'gridengine'];
const BYTES = 1_000_000_000;
const MiB = 1024 * 1024;
/** The same on both sides; cheap to make, also for an emulated processor. */
const FLOOD = `yes ${'0123456789abcdef'.repeat(64)} | head -c ${BYTES}`;
const FLOOD_MS = 600_000;
const SILENCE_SECONDS = 61;

describe('output', () => {
  let lab: Lab;
  let node: LabHost;
  beforeAll(async () => {
    lab = await theLab();
    node = lab.nodes[1] as LabHost;
  });

  it.concurrent('1 GB comes through, with flat memory in guest, daemon and shim', {
    timeout: FLOOD_MS,
  }, async () => {
    const job = await startJob(
      lab,
      'slurm',
      { node, memory: '200M' },
      `echo ready; until [ -e go ]; do sleep 0.2; done\n${FLOOD} >&2`,
    );
    const err = join(job.directory, 'err');
    const before = (await caddisd(node)).resident_bytes;
    const most = { daemon: 0, shim: 0, agent: 0 };
    await on(lab.head, ['touch', join(job.directory, 'go')]);
    await until(
      'all of it to arrive',
      async () => {
        if ((await stat(err)).size >= BYTES) return true;
        most.daemon = Math.max(most.daemon, (await caddisd(node)).resident_bytes);
        most.shim = Math.max(most.shim, await shimBytes(job.directory));
        most.agent = Math.max(most.agent, await agentBytes(node, job.key));
        return false;
      },
      { timeoutMs: FLOOD_MS, everyMs: 3_000 },
    );
    expect(await waitForEnd(lab, 'slurm', job.id)).toMatchObject({ exitCode: 0 });
    expect((await stat(err)).size).toBe(BYTES);
    expect(await sha256(`cat ${err}`)).toBe(await sha256(FLOOD));
    await rm(err);
    // The daemon's heap breathes; the C programs have their windows and no more.
    expect(most.daemon - before).toBeLessThan(40 * MiB);
    expect(most.shim).toBeGreaterThan(0);
    expect(most.shim).toBeLessThan(2 * MiB);
    expect(most.agent).toBeGreaterThan(0);
    expect(most.agent).toBeLessThan(2 * MiB);
  });

  it.concurrent('a job that says nothing for a minute is left alone', { timeout: 240_000 }, async () => {
    const jobs = await Promise.all(
      SYSTEMS.map((system) =>
        startJob(
          lab,
          system,
          { node, memory: '200M' },
          `echo ready; sleep ${SILENCE_SECONDS}; echo still here`,
        ),
      ),
    );
    for (const { system, id, directory } of jobs) {
      expect(await waitForEnd(lab, system, id, 200_000)).toMatchObject({ exitCode: 0 });
      expect(await readFile(join(directory, 'out'), 'utf8')).toBe('ready\nstill here\n');
    }
  });
});

async function caddisd(node: LabHost): Promise<{ resident_bytes: number }> {
  return JSON.parse(await on(node, [hookClient, 'status'])) as { resident_bytes: number };
}

/** Resident bytes of the step's client, which stands in the job's directory; the lab's hosts share their table of processes. */
async function shimBytes(directory: string): Promise<number> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
    if (name !== 'caddis-hook\n') continue;
    if ((await readlink(`/proc/${pid}/cwd`).catch(() => '')) !== directory) continue;
    return residentBytes(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''));
  }
  return 0;
}

async function agentBytes(node: LabHost, key: string): Promise<number> {
  const status = await on(node, [hookClient, 'shell', key, 'cat', '/proc/1/status'], { timeoutMs: 30_000 });
  return residentBytes(status);
}

function residentBytes(status: string): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

async function sha256(command: string): Promise<string> {
  const { stdout } = await execa('sh', ['-c', `${command} | sha256sum`], { timeout: 120_000 });
  return stdout.split(' ')[0] as string;
}
