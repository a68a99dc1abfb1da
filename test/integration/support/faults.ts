import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { hostDirectory } from '../../lab/layout.ts';
import { startLibvirtd } from '../../lab/libvirt.ts';
import { until } from '../../lab/process.ts';
import { asUser, type BatchJob, type BatchSystem, submit, waitForEnd } from './batch.ts';
import { machinesOf } from './leftovers.ts';

const SYSTEMS = ['slurm', 'gridengine'] as const satisfies readonly BatchSystem[];

/** Generous: two cores, TCG, and other jobs beside. */
export const SLOW_MS = 180_000;

export interface Victim {
  readonly system: BatchSystem;
  readonly id: string;
  /** As caddisd calls it: `slurm-12`, `gridengine-12.1`. */
  readonly key: string;
  readonly directory: string;
}

/** Submits the same script to both schedulers, both on `node`: one fault then serves for both. It begins by noting its run in the file `runs`. */
export function victims(
  lab: Lab,
  node: LabHost,
  script: string,
  options: { [system in BatchSystem]?: readonly string[] } & {
    job?: BatchJob;
    systems?: readonly BatchSystem[];
  } = {},
): Promise<Victim[]> {
  return Promise.all(
    (options.systems ?? SYSTEMS).map((system) =>
      victim(lab, node, system, script, options[system], options.job),
    ),
  );
}

async function victim(
  lab: Lab,
  node: LabHost,
  system: BatchSystem,
  script: string,
  extra: readonly string[] = [],
  job: BatchJob = {},
): Promise<Victim> {
  const options =
    system === 'slurm'
      ? ['-w', node.name, '--mem=200M', '--open-mode=append', ...extra]
      : ['-l', `hostname=${node.name}`, '-l', 'h_vmem=200M', ...extra];
  const { id, directory } = await submit(lab, system, 'vm', {
    ...job,
    script: `#!/bin/bash\necho run >> runs\n${script}\n`,
    options: [...options, ...(job.options ?? [])],
  });
  return { system, id, directory, key: system === 'slurm' ? `slurm-${id}` : `gridengine-${id}.1` };
}

/** Waits until each victim has noted that many runs and this word in its output. */
export async function untilSays(jobs: readonly Victim[], word: string, runs = 1): Promise<void> {
  await Promise.all(
    jobs.map(({ directory, key }) =>
      until(
        `${key} to say "${word}" in run ${runs}`,
        async () => {
          const [out, noted] = await Promise.all([text(directory, 'out'), text(directory, 'runs')]);
          return out.includes(word) && noted.split('\n').filter(Boolean).length >= runs;
        },
        { timeoutMs: SLOW_MS, everyMs: 200 },
      ),
    ),
  );
}

/** Waits until caddisd on `node` makes machines for all of these jobs. */
export async function untilPhase(node: LabHost, jobs: readonly Victim[], phase: string): Promise<void> {
  await until(
    `${jobs.map(({ key }) => key).join(', ')} to be ${phase}`,
    async () => {
      const machines = [...(await machinesOf(node)).values()];
      return jobs.every(({ key }) =>
        machines.some((machine) => machine.job === key && machine.phase === phase),
      );
    },
    { timeoutMs: SLOW_MS, everyMs: 50 },
  );
}

export interface Ending {
  readonly exitCode: number;
  readonly state: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly runs: number;
}

/** How a victim ended, by its scheduler's books and its files. */
export async function ending(
  lab: Lab,
  { system, id, directory }: Victim,
  timeoutMs = SLOW_MS,
): Promise<Ending> {
  const end = await waitForEnd(lab, system, id, timeoutMs);
  const [stdout, stderr, noted] = await Promise.all(
    ['out', 'err', 'runs'].map((name) => text(directory, name)),
  );
  return {
    ...end,
    stdout: stdout ?? '',
    stderr: stderr ?? '',
    runs: (noted ?? '').split('\n').filter(Boolean).length,
  };
}

/** Lines of Slurm's and Grid Engine's own view of the nodes that an admin would have to clear: down, drained or in error, each with its reason. */
export async function nodeTroubles(lab: Lab): Promise<string[]> {
  const [nodes, queues] = await Promise.all([
    asUser(lab, ['sinfo', '-h', '-N', '-p', 'main', '-o', '%N %T %E']),
    asUser(lab, ['qstat', '-f']),
  ]);
  return [
    ...nodes.stdout.split('\n').filter((line) => /drain|down|fail/.test(line)),
    ...queues.stdout.split('\n').filter((line) => /^\S+@\S+\s.*\s[a-zA-Z]*[dEasu][a-zA-Z]*\s*$/.test(line)),
  ];
}

export async function untilNoTrouble(lab: Lab, timeoutMs = SLOW_MS): Promise<void> {
  let now: string[] = [];
  const none = async () => {
    now = await nodeTroubles(lab);
    return now.length === 0;
  };
  await until('no node to be in trouble', none, { timeoutMs, everyMs: 500 }).catch((error: unknown) => {
    throw new Error(`nodes still in trouble:\n${now.join('\n')}`, { cause: error });
  });
}

/** caddisd dies and comes back, as systemd would do it. */
export async function restartCaddisd(
  lab: Lab,
  node: LabHost,
  signal: 'TERM' | 'KILL',
  extra = '',
): Promise<void> {
  await stopOn(node, signal);
  await startOn(lab, node, extra);
}

/** Kills libvirtd itself; its QEMUs go on. Returns a function that starts it again. */
export async function killLibvirtd(node: LabHost): Promise<() => Promise<void>> {
  const pid = Number(await readFile(join(hostDirectory(node.name), 'run/libvirt/libvirtd.pid'), 'utf8'));
  process.kill(pid, 'SIGKILL');
  return () => startLibvirtd(node);
}

/** A machine that is being made is in the job table before it has a QEMU. */
export async function qemuPid(node: LabHost, { key }: Victim): Promise<number> {
  let pid: number | undefined;
  await until(
    `a QEMU of ${key} on ${node.name}`,
    async () => {
      pid = [...(await machinesOf(node)).values()].find(({ job }) => job === key)?.qemuPid ?? undefined;
      return pid !== undefined;
    },
    { timeoutMs: 20_000, everyMs: 20 },
  );
  return pid as number;
}

async function text(directory: string, name: string): Promise<string> {
  return readFile(join(directory, name), 'utf8').catch(() => '');
}
