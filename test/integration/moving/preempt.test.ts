import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { Lab, LabHost } from '../../lab/host.ts';
import { asUser, submit, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import {
  type Counting,
  leftOwn,
  MOVE_MS,
  must,
  startCounting,
  undisturbed,
  untilOn,
  untilPending,
  untilSays,
  untilTick,
} from './support.ts';

const SECONDS = 12;
/** Of the partition whose jobs are given time before they go: more than they need. */
const GRACE_S = 60;
const STEP = 'srun --overlap -n1 bash -c "for i in 1 2 3 4 5 6; do echo step \\$i; sleep 1; done"';

describe('jobs that others are more important than', () => {
  let lab: Lab;
  let nodes: [LabHost, LabHost];
  const root = (...command: string[]) => must(asUser(lab, command, { user: 'root' }));
  beforeAll(async () => {
    lab = await theLab();
    nodes = [lab.nodes[0] as LabHost, lab.nodes[1] as LabHost];
    const all = nodes.map(({ name }) => name).join(',');
    // Jobs without machines are the more important ones here: they are quick.
    await root('scontrol', 'update', 'PartitionName=native', 'PriorityTier=100');
    await root(
      'scontrol',
      'create',
      'PartitionName=patient',
      `Nodes=${all}`,
      `GraceTime=${GRACE_S}`,
      'DefMemPerCPU=64',
    );
  });
  afterEach(() => untilNothingLeft(lab));
  afterAll(async () => {
    await root('scontrol', 'update', 'PartitionName=native', 'PriorityTier=1');
    await root('scontrol', 'delete', 'PartitionName=patient');
  });

  it.concurrent('go back to the queue with their state: Slurm, PreemptMode=REQUEUE', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const wanted = undisturbed(lab, 'slurm', { seconds: SECONDS });
    const victim = await startCounting(lab, 'slurm', nodes[0], { seconds: SECONDS });
    await untilTick(victim, 3);
    await preempt(victim, nodes[0]);
    await goesOn(victim, await wanted);
  });

  it.concurrent('and do not use up the grace time that they have: Slurm, GraceTime', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const wanted = undisturbed(lab, 'slurm', { seconds: 2, body: STEP });
    const victim = await startCounting(lab, 'slurm', nodes[1], { seconds: 2, body: STEP, queue: 'patient' });
    // slurmctld tells the steps, and the script only at the end of its grace time.
    await untilSays(victim, 'step 2');
    const begun = performance.now();
    await preempt(victim, nodes[1]);
    expect(performance.now() - begun).toBeLessThan((GRACE_S * 1000) / 2);
    await goesOn(victim, await wanted);
  });

  it.concurrent('leave the host of a queue that theirs is subordinate to: Grid Engine', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    // Its own queue would be taken for the important one.
    const wanted = undisturbed(lab, 'slurm', { seconds: SECONDS });
    const victim = await startCounting(lab, 'gridengine', nodes[0], {
      seconds: SECONDS,
      queue: 'move.q',
      isFree: true,
    });
    await untilOn(nodes[0], victim, 'running');
    await untilTick(victim, 3);
    await root('qconf', '-mattr', 'queue', 'subordinate_list', 'move.q=1', 'native.q');
    try {
      const urgent = await submit(lab, 'gridengine', 'native', {
        command: ['sleep', '8'],
        options: ['-l', `hostname=${nodes[0].name},h_vmem=100M`],
      });
      await untilOn(nodes[1], victim, 'running');
      await waitForEnd(lab, 'gridengine', urgent.id, MOVE_MS);
    } finally {
      await root('qconf', '-rattr', 'queue', 'subordinate_list', 'NONE', 'native.q');
    }
    await goesOn(victim, await wanted);
  });

  /** Fills the node with a job of a higher tier, and waits until that has taken the victim's place. */
  async function preempt(victim: Counting, node: LabHost): Promise<void> {
    const urgent = await submit(lab, 'slurm', 'native', {
      command: ['sleep', '1'],
      options: ['-w', node.name, '-c', '4', '--mem=200M'],
    });
    await untilPending(lab, victim);
    await waitForEnd(lab, 'slurm', urgent.id, MOVE_MS);
  }

  async function goesOn(job: Counting, wanted: Awaited<ReturnType<typeof undisturbed>>): Promise<void> {
    expect(await waitForEnd(lab, job.system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    const clean = (text: string) => text.replace(/^.*(srun|slurmstepd(-n\d)?): .*\n/gm, '');
    const result = await leftOwn(job);
    expect({ ...result, stderr: clean(result.stderr) }).toEqual({ ...wanted, stderr: clean(wanted.stderr) });
  }
});
