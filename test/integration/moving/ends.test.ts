import { setTimeout as sleep } from 'node:timers/promises';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, waitForEnd } from '../support/batch.ts';
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
    expect(await untilHeld(job, /CPUs/)).toMatch(
      /saved machine has 400.0 MiB, and it asks for 200.0 MiB now/,
    );
    await root('scontrol', 'update', `jobid=${job.id}`, 'MinMemoryNode=400');
    await again(job);
    expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    expect(await leftOwn(job)).toEqual(await wanted);
  });

  it.concurrent('keeps its exit status when it had ended before it was put back, and does not run again', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const [job] = await victims(lab, nodes[1], 'echo one; echo two >&2; sleep 3; echo three; exit 7', {
      systems: ['slurm'],
      job: { options: ['--open-mode=truncate'] },
    });
    if (!job) throw new Error('no job');
    await untilSays([job], 'one');
    // slurmstepd has the job's end and cannot tell it: slurmctld puts back a job that is over.
    await signalStepd(nodes[1], job.id, 'STOP');
    try {
      await untilSays([job], 'three');
      await until(
        'its step to be over',
        async () => (await statusOf(nodes[1])).machines.find(({ job: key }) => key === job.key)?.steps === 0,
        { timeoutMs: MOVE_MS },
      );
      await root('scontrol', 'requeue', job.id);
    } finally {
      await signalStepd(nodes[1], job.id, 'CONT');
    }
    const end = await ending(lab, job, MOVE_MS);
    expect(end).toMatchObject({
      exitCode: 7,
      runs: 1,
      stdout: 'one\nthree\n',
      stderr: expect.stringMatching(/^two\n/),
    });
    const { stdout } = await asUser(lab, ['scontrol', 'show', 'job', job.id], { user: 'root' });
    expect(stdout).toContain('Restarts=1');
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

  function signalStepd(node: LabHost, id: string, signal: string): Promise<string> {
    return on(node, ['pkill', `-${signal}`, '-f', `slurmstepd: \\[${id}.batch\\]`]);
  }
});
