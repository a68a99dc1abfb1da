import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';

import { hookClient } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, submit, waitForEnd } from './batch.ts';

/** Generous: two cores, TCG, and other jobs beside. */
export const JOB_MS = 110_000;

/** What a job asks for, in the words of neither scheduler. */
export interface Request {
  readonly node?: LabHost;
  readonly memory?: string;
  readonly cpus?: number;
  /** Size of the scratch disk. */
  readonly scratch?: string;
}

/** The same request as options of sbatch or qsub. */
export function optionsFor(system: BatchSystem, { node, memory, cpus, scratch }: Request): string[] {
  const options: [unknown, string[], string[]][] = [
    [node, ['-w', node?.name ?? ''], ['-l', `hostname=${node?.name}`]],
    [memory, [`--mem=${memory}`], ['-l', `h_vmem=${memory}`]],
    [cpus, ['-c', `${cpus}`], ['-pe', 'smp', `${cpus}`]],
    [scratch, [`--tmp=${scratch}`], ['-l', `vm_tmp=${scratch}`]],
  ];
  return options.flatMap(([asked, slurm, gridengine]) =>
    asked === undefined ? [] : system === 'slurm' ? slurm : gridengine,
  );
}

/** A job that runs in its machine until its script ends or `cancel` is called. */
export interface RunningJob {
  readonly lab: Lab;
  readonly system: BatchSystem;
  readonly id: string;
  /** As caddisd calls it. */
  readonly key: string;
  readonly directory: string;
  readonly node: LabHost;
  readonly machine: string;
  readonly address: string;
  readonly qemuPid: number;
}

/** Submits a bash script that must say `ready` in its output, and returns when it has. */
export async function startJob(
  lab: Lab,
  system: BatchSystem,
  request: Request & { node: LabHost },
  script: string,
  files: Readonly<Record<string, string>> = {},
): Promise<RunningJob> {
  const { id, directory } = await submit(lab, system, 'vm', {
    script: `#!/bin/bash\n${script}\n`,
    files,
    options: optionsFor(system, request),
  });
  const key = system === 'slurm' ? `slurm-${id}` : `gridengine-${id}.1`;
  await until(
    `${key} to say "ready" in ${directory}/out`,
    async () => (await outputOf({ directory })).includes('ready'),
    { timeoutMs: JOB_MS, everyMs: 200 },
  ).catch(async (error: unknown) => {
    // Nobody else knows the job: left alone it would keep its node from the next test.
    await remove(lab, system, id);
    throw error;
  });
  const status = JSON.parse(await on(request.node, [hookClient, '--connect-timeout', '20', 'status'])) as {
    machines: { job: string; machine: string; address: string; qemu_pid: number }[];
  };
  const found = status.machines.find(({ job }) => job === key);
  if (!found)
    throw new Error(`${key} says "ready" but caddisd on ${request.node.name} has no machine for it`);
  const { machine, address, qemu_pid: qemuPid } = found;
  return { lab, system, id, key, directory, node: request.node, machine, address, qemuPid };
}

export async function outputOf({ directory }: { directory: string }, name = 'out'): Promise<string> {
  return readFile(join(directory, name), 'utf8').catch(() => '');
}

/** How the job ended by its own script. */
export async function endOf({ lab, system, id }: RunningJob, timeoutMs = JOB_MS) {
  return waitForEnd(lab, system, id, timeoutMs);
}

/** Takes the job away and waits until its scheduler has done so. */
export async function cancel({ lab, system, id }: RunningJob): Promise<void> {
  await remove(lab, system, id);
  await waitForEnd(lab, system, id, JOB_MS);
}

/** Runs a command as root inside a job's machine, as an admin would with `caddis shell`. */
export async function asGuestRoot(
  job: RunningJob,
  command: readonly string[],
  input?: string,
): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const [file, ...args] = [...job.node.prefix, hookClient, 'shell', job.key, ...command];
  const result = await execa(file as string, args, {
    timeout: 60_000,
    reject: false,
    ...(input === undefined ? { stdin: 'ignore' } : { input }),
  });
  if (result.timedOut) throw new Error(`${command.join(' ')} in ${job.key}: not done after 60 s`);
  return { stdout: result.stdout, stderr: result.stderr, exitCode: result.exitCode ?? -1 };
}

async function remove(lab: Lab, system: BatchSystem, id: string): Promise<void> {
  await asUser(lab, system === 'slurm' ? ['scancel', id] : ['qdel', id], { user: 'root' });
}
