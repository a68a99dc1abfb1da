import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { cellOf } from '../../lab/gridengine/cell.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, waitForEnd } from '../support/batch.ts';
import { ending, untilSays, victims } from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import {
  type Counting,
  leftOwn,
  MOVE_MS,
  machineOf,
  must,
  park,
  startCounting,
  statusOf,
  undisturbed,
  untilOn,
  untilPending,
  untilTick,
} from './support.ts';

const SECONDS = 9;

describe('a job that waits to go on', () => {
  let lab: Lab;
  let nodes: [LabHost, LabHost];
  const root = (...command: string[]) => must(asUser(lab, command, { user: 'root' }));
  beforeAll(async () => {
    lab = await theLab();
    nodes = [lab.nodes[0] as LabHost, lab.nodes[1] as LabHost];
  });
  afterEach(() => untilNothingLeft(lab));

  it.concurrent('has its machine grown when its request has grown', { timeout: 3 * MOVE_MS }, async () => {
    const wanted = undisturbed(lab, 'slurm', { seconds: SECONDS });
    const job = await startCounting(lab, 'slurm', nodes[0], { seconds: SECONDS });
    await untilTick(job, 2);
    const release = await park(lab, job, nodes[0], nodes[0]);
    await root('scontrol', 'update', `jobid=${job.id}`, 'MinMemoryNode=600');
    await release();
    await untilOn(nodes[0], job, 'running');
    expect((await machineOf(nodes[0], job))?.memory_bytes).toBe(600 * 2 ** 20);
    expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    expect(await leftOwn(job)).toEqual(await wanted);
  });

  it.concurrent('is held with the reason when it asks for fewer CPUs or less memory than its machine has, and goes on when it asks for as much again', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const wanted = undisturbed(lab, 'slurm', { seconds: SECONDS });
    const job = await startCounting(lab, 'slurm', nodes[1], {
      seconds: SECONDS,
      options: ['-n', '2', '-N', '1'],
    });
    await untilTick(job, 2);
    const release = await park(lab, job, nodes[1], nodes[1]);
    await root('scontrol', 'update', `jobid=${job.id}`, 'NumTasks=1', 'NumCPUs=1');
    await release();
    expect(await untilHeld(job)).toMatch(/saved machine has 2 CPUs, and it asks for 1 now/);
    await root('scontrol', 'update', `jobid=${job.id}`, 'NumCPUs=2', 'NumTasks=2', 'MinMemoryNode=200');
    await again(job);
    expect(await untilHeld(job, /CPUs/)).toMatch(/saved machine has 400 MiB, and it asks for 200 MiB now/);
    await root('scontrol', 'update', `jobid=${job.id}`, 'MinMemoryNode=400');
    await again(job);
    expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    expect(await leftOwn(job)).toEqual(await wanted);
  });

  it.concurrent.each<BatchSystem>(['slurm', 'gridengine'])(
    'keeps its exit status when it had ended before it was put back, and does not run again: %s',
    { timeout: 3 * MOVE_MS },
    async (system) => {
      const [, node] = nodes;
      const [job] = await victims(lab, node, 'echo one; echo two >&2; sleep 3; echo three; exit 7', {
        systems: [system],
        slurm: ['--open-mode=truncate'],
        job: system === 'gridengine' ? { queue: 'move.q' } : {},
      });
      if (!job) throw new Error('no job');
      await untilSays([job], 'one');
      // Who waits for the job's end on the node cannot tell of it: the scheduler puts back a job that is over.
      const waiter = await waiterOf(job.id, system, node);
      process.kill(waiter, 'SIGSTOP');
      try {
        await untilSays([job], 'three');
        await until(
          'its step to be over',
          async () => (await statusOf(node)).machines.find(({ job: key }) => key === job.key)?.steps === 0,
          { timeoutMs: MOVE_MS },
        );
        if (system === 'slurm') await root('scontrol', 'requeue', job.id);
        else await root('qmod', '-sj', job.id);
      } finally {
        process.kill(waiter, 'SIGCONT');
      }
      const end = await ending(lab, job, MOVE_MS);
      expect(end).toMatchObject({
        ...{ exitCode: 7, runs: 1, stdout: 'one\nthree\n', stderr: expect.stringMatching(/^two\n/) },
      });
      if (system === 'gridengine') return;
      const { stdout } = await asUser(lab, ['scontrol', 'show', 'job', job.id], { user: 'root' });
      expect(stdout).toContain('Restarts=1');
    },
  );

  it.concurrent('runs again from its beginning when its own script has put it back', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const script = `[ "$(wc -l < runs)" = 2 ] || { echo first; scontrol requeue $SLURM_JOB_ID; sleep 300; }\necho second`;
    const [job] = await victims(lab, nodes[0], script, {
      systems: ['slurm'],
      slurm: ['--vm-checkpoint=5s'],
    });
    if (!job) throw new Error('no job');
    const end = await ending(lab, job, MOVE_MS);
    expect(end).toMatchObject({ exitCode: 0, runs: 2, stdout: 'first\nsecond\n' });
  });

  /** Resolves with the reason that its user finds; `except`: an older one that may still stand there. */
  async function untilHeld(job: Counting, except = /^$/): Promise<string> {
    return until(
      `${job.key} to be held`,
      async () => {
        const { stdout } = await asUser(lab, ['scontrol', 'show', 'job', job.id], { user: 'root' });
        const comment = /Comment=(caddis: .*)/.exec(stdout)?.[1];
        return /JobState=PENDING Reason=\S*held/i.test(stdout) && comment && !except.test(comment) && comment;
      },
      { timeoutMs: MOVE_MS, everyMs: 200 },
    );
  }

  async function again(job: Counting): Promise<void> {
    await untilPending(lab, job);
    // A credential of the second in which the last one was revoked counts as revoked: slurmd would not start the job.
    await sleep(2_000);
    await root('scontrol', 'release', job.id);
    await root('scontrol', 'update', `jobid=${job.id}`, 'StartTime=now');
  }

  /** slurmstepd or sge_shepherd of a job that runs. */
  async function waiterOf(id: string, system: BatchSystem, node: LabHost): Promise<number> {
    if (system === 'gridengine')
      return Number(
        await readFile(join(cellOf(lab).execdSpool, node.name, 'active_jobs', `${id}.1`, 'pid'), 'utf8'),
      );
    const pids = await on(node, ['scontrol', 'listpids', id]);
    const client = new RegExp(`^(\\d+)\\s+${id}\\s+batch\\b`, 'm').exec(pids)?.[1];
    const stat = await readFile(`/proc/${client}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  }
});
