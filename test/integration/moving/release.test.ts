import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { stagingOf } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, waitForEnd } from '../support/batch.ts';
import { restartCaddisd } from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { machinesOf, untilNothingLeft } from '../support/leftovers.ts';
import {
  type Counting,
  left,
  MOVE_MS,
  startCounting,
  undisturbed,
  untilOn,
  untilTick,
  withoutSlurmsLines,
} from './support.ts';

const SOON = '[suspend]\nrelease_after = 1\n';
const SECONDS = 10;

describe('a suspended job gives its memory back', () => {
  let lab: Lab;
  let node: LabHost;
  beforeAll(async () => {
    lab = await theLab();
    node = lab.nodes[0] as LabHost;
    await restartCaddisd(lab, node, 'TERM', SOON);
  });
  afterAll(async () => {
    await restartCaddisd(lab, node, 'TERM');
  });

  it.concurrent.each<BatchSystem>(['slurm', 'gridengine'])(
    'and goes on where it stood: %s',
    {
      timeout: 3 * MOVE_MS,
    },
    async (system) => {
      const wanted = undisturbed(lab, system, { seconds: SECONDS });
      const job = await suspended(system);
      await say(job, 'resume');
      await untilOn(node, job, 'running');
      expect(await waitForEnd(lab, system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
      expect(await left(job)).toEqual(await wanted);
      await untilNothingLeft(lab);
    },
  );

  it('and goes on under a caddisd that was started meanwhile', { timeout: 3 * MOVE_MS }, async () => {
    const wanted = undisturbed(lab, 'slurm', { seconds: SECONDS });
    const job = await suspended('slurm');
    await restartCaddisd(lab, node, 'KILL', SOON);
    await untilOn(node, job, 'released');
    await say(job, 'resume');
    expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    expect(await left(job)).toEqual(await wanted);
    await untilNothingLeft(lab);
  });

  it('and is cancelled as ever', { timeout: 2 * MOVE_MS }, async () => {
    const job = await suspended('slurm');
    await asUser(lab, ['scancel', job.id]);
    expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ state: 'CANCELLED' });
    await untilNothingLeft(lab);
  });

  it('and goes back to the queue without being restored first', { timeout: 3 * MOVE_MS }, async () => {
    const wanted = undisturbed(lab, 'slurm', { seconds: SECONDS });
    const job = await suspended('slurm');
    await asUser(lab, ['scontrol', 'requeue', job.id], { user: 'root' });
    // slurmctld holds a suspended job that is requeued (scontrol(1)).
    await until(
      `${job.key} to be pending`,
      async () => {
        const { stdout } = await asUser(lab, ['squeue', '-h', '-j', job.id, '-o', '%T'], { user: 'root' });
        return stdout.trim() === 'PENDING';
      },
      { timeoutMs: MOVE_MS, everyMs: 200 },
    );
    await asUser(lab, ['scontrol', 'release', job.id], { user: 'root' });
    expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    const result = await left(job);
    expect({ ...result, stderr: withoutSlurmsLines(result.stderr) }).toEqual(await wanted);
    await untilNothingLeft(lab);
  });

  async function suspended(system: BatchSystem): Promise<Counting> {
    const job = await startCounting(lab, system, node, {
      seconds: SECONDS,
      ...(system === 'gridengine' ? { options: ['-l', `hostname=${node.name}`] } : {}),
    });
    await untilTick(job, 3);
    // A checkpoint is under way: libvirt starts the machine at its end, and the job stands still all the same.
    const [machine] = [...(await machinesOf(node))].find(([, of]) => of.job === job.key) ?? [];
    const image = join(stagingOf(lab, node), 'caddis', `${machine}.memory`);
    const checkpoint = on(node, [process.execPath, 'dist/caddis.cjs', 'checkpoint', job.key], {
      timeoutMs: MOVE_MS,
    }).catch(() => undefined);
    await until(`${image} to be written`, async () => existsSync(image), { timeoutMs: MOVE_MS, everyMs: 2 });
    await say(job, 'suspend');
    await checkpoint;
    await untilOn(node, job, 'released');
    await until(
      'its QEMU to be gone',
      async () => {
        const machines = [...(await machinesOf(node)).values()];
        return machines.find((machine) => machine.job === job.key)?.qemuPid === null;
      },
      { timeoutMs: 20_000, everyMs: 200 },
    );
    return job;
  }

  async function say({ system, id }: Counting, what: 'suspend' | 'resume'): Promise<void> {
    const command =
      system === 'slurm' ? ['scontrol', what, id] : ['qmod', what === 'suspend' ? '-sj' : '-usj', id];
    const { exitCode, stdout, stderr } = await asUser(lab, command, { user: 'root' });
    if (exitCode !== 0) throw new Error(`${command.join(' ')}: ${stdout}${stderr}`);
  }
});
