import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { MachineStatus, NodeStatus } from '../../../src/model/status.ts';
import { hookClient } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, runBatch, submit } from '../support/batch.ts';

/** Two cores, TCG, other jobs beside. */
export const MOVE_MS = 120_000;

const COUNTER = join(import.meta.dirname, 'counter.py');

export interface Counting {
  readonly system: BatchSystem;
  readonly id: string;
  readonly key: string;
  readonly directory: string;
}

/** Starts the counting job in its machine on `node`. */
export async function startCounting(
  lab: Lab,
  system: BatchSystem,
  node: LabHost,
  {
    seconds,
    megabytes = 20,
    options = [],
    queue,
    body,
    isFree = false,
  }: {
    seconds: number;
    megabytes?: number;
    options?: readonly string[];
    queue?: string;
    body?: string;
    /** It would rather start on `node`, and may start on any. */
    isFree?: boolean;
  },
): Promise<Counting> {
  const { id, directory } = await submit(lab, system, 'vm', {
    script: script(seconds, megabytes, body),
    files: { 'counter.py': await readFile(COUNTER, 'utf8') },
    ...(queue === undefined ? {} : { queue }),
    options: [
      ...(system === 'slurm'
        ? ['--mem=400M', ...(isFree ? [] : ['-w', node.name])]
        : ['-l', 'h_vmem=400M', ...(isFree ? ['-soft', '-l', `hostname=${node.name}`, '-hard'] : [])]),
      ...options,
    ],
  });
  return { system, id, directory, key: system === 'slurm' ? `slurm-${id}` : `gridengine-${id}.1` };
}

/** What the same job leaves when nobody disturbs it and it has no machine. */
export async function undisturbed(
  lab: Lab,
  system: BatchSystem,
  { seconds, megabytes = 20, body }: { seconds: number; megabytes?: number; body?: string },
): Promise<{ stdout: string; stderr: string; table: string }> {
  const { stdout, stderr, directory } = await runBatch(lab, system, 'native', {
    script: script(seconds, megabytes, body),
    files: { 'counter.py': await readFile(COUNTER, 'utf8') },
    timeoutMs: MOVE_MS,
  });
  return { stdout, stderr, table: await readFile(join(directory, 'table'), 'utf8') };
}

export async function left({
  directory,
}: Counting): Promise<{ stdout: string; stderr: string; table: string }> {
  const [stdout = '', stderr = '', table = ''] = await Promise.all(
    ['out', 'err', 'table'].map((name) => readFile(join(directory, name), 'utf8').catch(() => '')),
  );
  return { stdout, stderr, table };
}

/** What a job leaves that must be as natively: Slurm's own lines about the end of a run are not its own. */
export async function leftOwn(job: Counting): ReturnType<typeof left> {
  const result = await left(job);
  return { ...result, stderr: withoutSlurmsLines(result.stderr) };
}

/** Slurm's own lines about the end of a run, which natively a rerun would have cut off. */
export function withoutSlurmsLines(text: string): string {
  return text.replace(/^(slurmstepd(-n\d)?|srun): .*\n/gm, '');
}

/** Number of the last tick that the job has printed; 0 before the first. */
async function ticks({ directory }: { directory: string }): Promise<number> {
  const text = await readFile(join(directory, 'out'), 'utf8').catch(() => '');
  return Number([...text.matchAll(/^tick (\d+) /gm)].at(-1)?.[1] ?? 0);
}

export async function untilTick(job: Counting, tick: number): Promise<void> {
  await until(`${job.key} to count to ${tick} in ${job.directory}`, async () => (await ticks(job)) >= tick, {
    timeoutMs: MOVE_MS,
    everyMs: 200,
  });
}

export async function untilSays(job: Counting, text: string): Promise<void> {
  await until(`${job.key} to say "${text}"`, async () => (await left(job)).stdout.includes(`${text}\n`), {
    timeoutMs: MOVE_MS,
    everyMs: 200,
  });
}

export async function statusOf(node: LabHost): Promise<NodeStatus> {
  return JSON.parse(
    await on(node, [hookClient, '--connect-timeout', '20', 'status'], { timeoutMs: 30_000 }),
  ) as NodeStatus;
}

/** What caddisd on `node` says of a job's machine; undefined when it has none. */
export async function machineOf(node: LabHost, { key }: { key: string }): Promise<MachineStatus | undefined> {
  const { machines } = await statusOf(node);
  return machines.find(({ job }) => job === key);
}

/** Where the job's machine is, and the other node. */
export async function whereIs(lab: Lab, job: { key: string }): Promise<{ here: LabHost; there: LabHost }> {
  const [one, two] = lab.nodes as [LabHost, LabHost];
  return (await machineOf(one, job)) ? { here: one, there: two } : { here: two, there: one };
}

export async function untilOn(node: LabHost, job: Counting, phase: string): Promise<void> {
  let seen = 'no machine';
  await until(
    `${job.key} to be ${phase} on ${node.name}`,
    async () => {
      seen = (await machineOf(node, job))?.phase ?? 'no machine';
      return seen === phase;
    },
    { timeoutMs: MOVE_MS, everyMs: 200 },
  ).catch((error: unknown) => {
    throw new Error(`${job.key} on ${node.name}: expected ${phase}, it is ${seen}`, { cause: error });
  });
}

/** Waits until slurmctld has put the job back into its queue. */
export async function untilPending(lab: Lab, { id, key }: Counting, timeoutMs = MOVE_MS): Promise<void> {
  await until(
    `${key} to be pending`,
    async () => {
      const { stdout } = await asUser(lab, ['squeue', '-h', '-j', id, '-o', '%T'], { user: 'root' });
      return stdout.trim() === 'PENDING';
    },
    { timeoutMs, everyMs: 200 },
  );
}

/** Has the scheduler take the job off its node and start it on another: requeue, or suspension in a queue that moves. */
export async function moveTo(lab: Lab, job: Counting, from: LabHost, to: LabHost): Promise<void> {
  const root = { user: 'root' };
  if (job.system === 'slurm') {
    await must(asUser(lab, ['scontrol', 'requeue', job.id], root));
    await untilPending(lab, job);
    await must(asUser(lab, ['scontrol', 'update', `jobid=${job.id}`, `reqnodelist=${to.name}`], root));
  } else {
    await asUser(lab, ['qmod', '-e', `move.q@${to.name}`], root);
    await must(asUser(lab, ['qmod', '-d', `move.q@${from.name}`], root));
    try {
      await must(asUser(lab, ['qmod', '-sj', job.id], root));
      await untilOn(to, job, 'running');
    } finally {
      await asUser(lab, ['qmod', '-e', `move.q@${from.name}`], root);
    }
  }
  await untilOn(to, job, 'running');
}

/** Takes the job off its node and keeps it waiting until its machine is parked; the returned function lets it start on `to`. */
export async function park(
  lab: Lab,
  job: Counting,
  from: LabHost,
  to: LabHost,
): Promise<() => Promise<void>> {
  const root = (...command: string[]) => must(asUser(lab, command, { user: 'root' }));
  if (job.system === 'slurm') {
    await root('scontrol', 'requeuehold', job.id);
    await untilOn(from, job, 'parked');
    return async () => {
      await root('scontrol', 'update', `jobid=${job.id}`, `reqnodelist=${to.name}`);
      await root('scontrol', 'release', job.id);
      await root('scontrol', 'update', `jobid=${job.id}`, 'StartTime=now');
    };
  }
  await root('qmod', '-d', 'move.q');
  try {
    await root('qmod', '-sj', job.id);
    await untilOn(from, job, 'parked');
  } catch (error) {
    await root('qmod', '-e', 'move.q');
    throw error;
  }
  return async () => {
    await root('qmod', '-e', `move.q@${to.name}`);
    await untilOn(to, job, 'running');
    await root('qmod', '-e', 'move.q');
  };
}

export async function must(
  command: Promise<{ stdout: string; stderr: string; exitCode: number }>,
): Promise<string> {
  const { stdout, stderr, exitCode } = await command;
  if (exitCode !== 0) throw new Error(`ended with ${exitCode}: ${stdout}${stderr}`);
  return stdout;
}

function script(seconds: number, megabytes: number, body = ''): string {
  return `#!/bin/bash\npython3 counter.py ${seconds} ${megabytes}\necho "status $?"\n${body}\n`;
}
