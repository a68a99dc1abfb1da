import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { NodeTop } from '../../../src/model/top.ts';
import { MEMORY_MAX_MIB, startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { shadowOf } from '../../lab/slurm/cluster.ts';
import { asUser } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { cancel, outputOf, type RunningJob, startJob } from '../support/machines.ts';
import { readTop } from './top.ts';

const MiB = 1024 * 1024;
const RESERVED_MIB = 1024;
/** Allocates 300 MiB when it is told to. */
const GROWS = `echo ready
exec python3 -c "
import os, time
while not os.path.exists('go'): time.sleep(0.2)
held = bytearray(b'x') * (300 << 20)
print('grown', flush=True)
time.sleep(600)"`;
/** A sensor's values stay good for 5 s; then come the load report and the qmaster, each within a second. On two busy cores. */
const CLOSED_WITHIN_MS = 20_000;

describe('what the node says of itself', () => {
  let lab: Lab;
  let node: LabHost;
  const jobs: RunningJob[] = [];

  beforeAll(async () => {
    lab = await theLab();
    node = lab.nodes[0] as LabHost;
    for (const system of ['slurm', 'gridengine'] as const)
      jobs.push(await startJob(lab, system, { node, memory: `${RESERVED_MIB}M` }, GROWS));
  });
  afterAll(async () => {
    for (const job of jobs) await cancel(job);
  });

  const top = () => readTop(node);
  /** What is reserved and not resident, and what nobody has reserved. */
  const idleBytes = (seen: NodeTop) =>
    MEMORY_MAX_MIB * MiB - seen.jobs.reduce((sum, job) => sum + (job.memory_resident_bytes ?? 0), 0);
  const hostValues = async () => {
    const { stdout } = await asUser(lab, ['qhost', '-F', '-h', node.name]);
    return Object.fromEntries(
      [...stdout.matchAll(/hl:(vm_\w+)=(\S+)/g)].map(([, name, value]) => [name, value]),
    );
  };
  const queueState = async (queue: string) => {
    const { stdout } = await asUser(lab, ['qstat', '-f', '-q', queue]);
    const row = stdout.split('\n').find((line) => line.startsWith(`${queue}@${node.name}`)) ?? '';
    return row.split(/\s+/)[5] ?? '';
  };
  const slackOfSlurm = async () => {
    const { stdout } = await asUser(lab, ['scontrol', '-o', 'show', 'node', shadowOf(node.name)]);
    const [, count = '0', unit = ''] = /slackmem:(\d+)([KM]?)/.exec(stdout) ?? [];
    return Number(count) * ({ K: 1024, M: 1024 ** 2 }[unit] ?? 1);
  };
  const wait = <T>(what: string, ask: () => Promise<T | undefined | false>, timeoutMs = 60_000) =>
    until(what, ask, { timeoutMs, everyMs: 500 });

  it('offers what its jobs have reserved and leave idle, and what nobody has, in top and to both schedulers', async () => {
    const now = await wait('slack', async () => {
      const seen = await top();
      return seen.slack.memory_bytes > (MEMORY_MAX_MIB - 2 * RESERVED_MIB + 500) * MiB && seen;
    });
    expect(now.jobs.map(({ job }) => job).sort()).toEqual(jobs.map(({ key }) => key).sort());
    for (const job of now.jobs) {
      expect(job.memory_limit_bytes).toBe(RESERVED_MIB * MiB);
      expect(job.memory_resident_bytes).toBeGreaterThan(50 * MiB);
      expect(job.memory_used_bytes).toBeLessThan(300 * MiB);
    }
    // Never more than is not resident.
    expect(now.slack.memory_bytes).toBeLessThanOrEqual(idleBytes(now) + 1);
    await wait('slackmem', async () => (await slackOfSlurm()) >= MEMORY_MAX_MIB - 2 * RESERVED_MIB + 448);
    const values = await wait('slack at the qmaster', async () => {
      const seen = await hostValues();
      return /^[\d.]+[MG]$/.test(seen.vm_mem_slack ?? '') && seen;
    });
    expect(values).toMatchObject({ vm_ok: '1.000000', vm_jobs: '2.000000' });
  });

  it('shows a job that allocates, and takes the slack back', async () => {
    const before = await top();
    const [job] = jobs as [RunningJob];
    await asUser(lab, ['touch', join(job.directory, 'go')]);
    await wait('the job to have grown', async () => (await outputOf(job)).includes('grown'));
    const after = await wait('top to show it', async () => {
      const seen = await top();
      const used = seen.jobs.find(({ job: key }) => key === job.key)?.memory_used_bytes ?? 0;
      // Of its limit: a machine has more than that, by some tens of MiB when its memory was measured while it was in use for something that passed.
      return used > 230 * MiB && seen;
    });
    const resident = (seen: NodeTop) =>
      seen.jobs.find(({ job: key }) => key === job.key)?.memory_resident_bytes ?? 0;
    expect(resident(after) - resident(before)).toBeGreaterThan(250 * MiB);
    // How much was offered before depends on how the jobs grew when they started: what counts is the bound.
    expect(after.slack.memory_bytes).toBeLessThanOrEqual(idleBytes(after) + 1);
  });

  it('tells slurmctld again after it has forgotten (scontrol reconfigure)', async () => {
    await wait('slack at slurmctld', async () => (await slackOfSlurm()) > 0);
    await asUser(lab, ['scontrol', 'reconfigure'], { user: 'root' });
    await wait('slack at slurmctld again', async () => (await slackOfSlurm()) > 0);
  });

  it('closes the node to new jobs when caddisd is silent, and evicts nobody', async () => {
    const qconf = (value: string) =>
      asUser(lab, ['qconf', '-rattr', 'queue', 'suspend_thresholds', value, 'all.q'], { user: 'root' });
    const [, job] = jobs as [RunningJob, RunningJob];
    await qconf('vm_pressure=0.8');
    try {
      await stopOn(node, 'KILL');
      await wait('vm_ok 0', async () => (await hostValues()).vm_ok === '0.000000', CLOSED_WITHIN_MS);
      const values = await hostValues();
      expect(values).toMatchObject({ vm_mem_slack: '0.000', vm_pressure: '0.000000' });
      await wait('the queue to be closed', async () => (await queueState('all.q')) === 'a', CLOSED_WITHIN_MS);
      const until = performance.now() + 20_000;
      while (performance.now() < until) {
        expect(await queueState('all.q')).toBe('a');
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
      const { stdout } = await asUser(lab, ['qstat', '-u', '*']);
      expect(stdout).toMatch(new RegExp(`^\\s*${job.id}\\s.*\\sr\\s`, 'm'));
    } finally {
      await startOn(lab, node);
      await qconf('NONE');
    }
    await wait('the queue to be open', async () => (await queueState('all.q')) === '');
  });

  it('closes the node while the file that the sensor reads is garbage', async () => {
    // A directory in its place: caddisd cannot put another file there.
    const path = '/run/caddis/gridengine.load';
    await on(node, ['sh', '-c', `rm -f ${path} && mkdir ${path} && touch ${path}/x`]);
    try {
      await wait('vm_ok 0', async () => (await hostValues()).vm_ok === '0.000000', CLOSED_WITHIN_MS);
      expect(await hostValues()).toMatchObject({ vm_pressure: '0.000000' });
    } finally {
      await on(node, ['rm', '-r', path]);
    }
    await wait('vm_ok 1', async () => (await hostValues()).vm_ok === '1.000000');
  });
});
