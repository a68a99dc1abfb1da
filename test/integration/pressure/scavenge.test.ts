import { readFile } from 'node:fs/promises';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { daemonLog } from '../../lab/daemons.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { until } from '../../lab/process.ts';
import { clusterOf, shadowOf } from '../../lab/slurm/cluster.ts';
import { asUser, type BatchJob, type BatchSystem, submit, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { cancel, JOB_MS, optionsFor, outputOf, type RunningJob, startJob } from '../support/machines.ts';
import { readTop } from './top.ts';

const MiB = 1024 * 1024;
const systems = ['slurm', 'gridengine'] as const;
const QUEUE = { slurm: 'scavenge', gridengine: 'scavenge.q' } as const;
/** All that the scheduler has of a node: by that of a slot, in Grid Engine. */
const WHOLE = { slurm: '6000M', gridengine: '1500M' } as const;
/** More than a node has, whoever uses it. */
const TOO_LARGE = '6500M';
/** An owner lends when it was watched for as long as a give-back takes (10 s); its start counts as growth. */
const LENDS_MS = 60_000;

/** A job of each scheduler has a node for itself: n1 and n2. All that is asked here is asked of both at once. */
describe('jobs that run in what others have reserved', () => {
  let lab: Lab;
  const owners = new Map<BatchSystem, RunningJob>();
  const both = (work: (system: BatchSystem, owner: RunningJob) => Promise<void>) =>
    Promise.all(systems.map((system) => work(system, owners.get(system) as RunningJob)));
  const root = (...command: string[]) => asUser(lab, command, { user: 'root' });
  const lend = (system: BatchSystem, job: BatchJob) => submit(lab, system, 'vm', { joined: true, ...job });
  const other = (node: LabHost) => lab.nodes.find(({ name }) => name !== node.name) as LabHost;

  /** The other node takes no borrower of this scheduler: a plain submission, which names no node, comes to the owner's. */
  const close = (system: BatchSystem, node: LabHost, closed: boolean) =>
    system === 'slurm'
      ? root(
          'scontrol',
          'update',
          `NodeName=${nodeOf(node)}`,
          ...(closed ? ['State=DRAIN', 'Reason=test'] : ['State=RESUME']),
        )
      : root('qmod', closed ? '-d' : '-e', `${QUEUE.gridengine}@${node.name}`);
  const nodeOf = ({ name }: LabHost) => (clusterOf(lab).scavenge === 'shadow' ? shadowOf(name) : name);

  beforeAll(async () => {
    lab = await theLab();
    await Promise.all(
      systems.map(async (system, index) => {
        const node = lab.nodes[index] as LabHost;
        const script = 'echo ready; exec sleep 1000';
        const request = { node, memory: WHOLE[system], cpus: 4 };
        owners.set(system, await startJob(lab, system, request, script));
        await close(system, other(node), true);
      }),
    );
  }, 2 * JOB_MS);

  afterAll(async () => {
    await Promise.all(
      [...owners].map(async ([system, owner]) => {
        await close(system, other(owner.node), false);
        await cancel(owner);
      }),
    );
  });

  const stateOf = async (system: BatchSystem, id: string) => {
    const { stdout } = await asUser(
      lab,
      system === 'slurm' ? ['squeue', '-h', '-j', id, '-o', '%T'] : ['qstat', '-u', '*'],
    );
    if (system === 'slurm') return stdout.trim();
    return new RegExp(`^\\s*${id}\\s+\\S+\\s+\\S+\\s+\\S+\\s+(\\S+)`, 'm').exec(stdout)?.[1] ?? '';
  };
  const isWaiting = async (system: BatchSystem, id: string) =>
    ['PENDING', 'qw'].includes(await stateOf(system, id));
  /** What the owner's node says that it could lend, once it has watched its owner for long enough. */
  const slackOf = (owner: RunningJob) =>
    until(
      `${owner.node.name} to lend what ${owner.key} leaves idle`,
      async () => {
        const { slack } = await readTop(owner.node);
        return slack.memory_bytes > 3000 * MiB && slack.memory_bytes;
      },
      { timeoutMs: LENDS_MS, everyMs: 500 },
    );
  const remove = (system: BatchSystem, id: string) => root(system === 'slurm' ? 'scancel' : 'qdel', id);

  it('start beside an owner of the whole node, named or by policy; what is too large and what is no such job wait', {
    timeout: 3 * JOB_MS,
  }, async () => {
    await both(async (system, owner) => {
      const { node } = owner;
      await slackOf(owner);
      const script = '#!/bin/sh\nhostname\n';
      const ordinary = await lend(system, { script, options: optionsFor(system, { node, memory: '100M' }) });
      const large = await lend(system, {
        script,
        queue: QUEUE[system],
        options: optionsFor(system, { memory: TOO_LARGE }),
      });
      const small = optionsFor(system, { memory: '150M' });
      const short = system === 'slurm' ? ['-t', '5'] : ['-l', 'h_rt=0:5:0'];
      const borrowers = [
        await lend(system, { script, queue: QUEUE[system], options: small }),
        await lend(system, { script, queue: null, options: [...small, ...short] }),
      ];
      for (const { id, directory } of borrowers) {
        expect(await waitForEnd(lab, system, id, JOB_MS)).toMatchObject({ exitCode: 0 });
        expect((await outputOf({ directory })).trim()).toBe(node.name);
        expect(await queueOf(system, id)).toBe(QUEUE[system]);
      }
      // What is lent may be sent back at any time: nobody takes that away again.
      if (system === 'slurm') {
        const update = ['scontrol', 'update', `JobId=${large.id}`, 'Requeue=0'];
        expect((await asUser(lab, update)).exitCode).not.toBe(0);
      }
      for (const { id } of [ordinary, large]) {
        expect(await isWaiting(system, id), `${system} ${id}`).toBe(true);
        await remove(system, id);
      }
      expect(['RUNNING', 'r']).toContain(await stateOf(system, owner.id));
    });
  });

  const queueOf = async (system: BatchSystem, id: string) => {
    const ask = system === 'slurm' ? ['scontrol', '-o', 'show', 'job', id] : ['qacct', '-j', id];
    const { stdout } = await asUser(lab, ask);
    return /(?:\bPartition=|^qname\s+)(\S+)/m.exec(stdout)?.[1];
  };

  it('are told at submission what keeps them out', async () => {
    const refused: [string[], RegExp][] = [
      [['sbatch', '-p', 'scavenge', '--no-requeue', '--mem=100M', '--wrap=true'], /no job with --no-requeue/],
      [['srun', '-p', 'scavenge', '--mem=100M', 'true'], /batch jobs only/],
      [['sbatch', '-p', 'scavenge', '--mem=0', '--wrap=true'], /say how much memory/],
      [['sbatch', '-p', 'main,scavenge', '--mem=100M', '--wrap=true'], /cannot be one of several/],
      [['sbatch', '-p', 'main', '--gres=slackmem:9', '--wrap=true'], /slackmem is for jobs of partition/],
      [['qsub', '-b', 'y', '-q', 'scavenge.q', 'true'], /say how much memory/],
    ];
    for (const [command, why] of refused) {
      const { stdout, stderr, exitCode } = await asUser(lab, command);
      expect(`${stdout}${stderr}`, command.join(' ')).toMatch(why);
      expect(exitCode).not.toBe(0);
    }
  });

  it('never have the same slack: of two that come at once one is sent back, and runs later', {
    timeout: 4 * JOB_MS,
  }, async () => {
    await both(async (system, owner) => {
      const { node } = owner;
      const mib = Math.floor((0.6 * (await slackOf(owner))) / MiB);
      // Grid Engine compares a load value, which two can meet. slurmctld counts: it is made to believe in more than there is.
      if (system === 'slurm')
        await root('scontrol', 'update', `NodeName=${nodeOf(node)}`, 'Gres=slackmem:20000');
      const before = (await readFile(daemonLog(node.name, 'caddisd'), 'utf8')).length;
      const racers = await Promise.all(
        [1, 2].map(() =>
          lend(system, {
            script: '#!/bin/sh\nsleep 3; echo done\n',
            queue: QUEUE[system],
            options: optionsFor(system, { memory: `${mib}M` }),
          }),
        ),
      );
      const sentBack = await until(
        'one of them to be sent back',
        async () => {
          const log = (await readFile(daemonLog(node.name, 'caddisd'), 'utf8')).slice(before);
          return racers.find(({ id }) => new RegExp(`${system}-${id}\\b.*sent back to the queue`).test(log));
        },
        { timeoutMs: JOB_MS, everyMs: 300 },
      );
      const ask =
        system === 'slurm' ? ['scontrol', '-o', 'show', 'job', sentBack.id] : ['qstat', '-j', sentBack.id];
      await until(
        `${system} to say why ${sentBack.id} waits`,
        async () => /this.job.needs.*can.lend/.test((await asUser(lab, ask)).stdout),
        { timeoutMs: JOB_MS, everyMs: 300 },
      );
      for (const { id, directory } of racers) {
        expect(await waitForEnd(lab, system, id, JOB_MS)).toMatchObject({ exitCode: 0 });
        expect(await outputOf({ directory })).toBe('done\n');
      }
    });
  });
});
