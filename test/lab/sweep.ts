import { readdir, readFile, readlink } from 'node:fs/promises';

import { execa } from 'execa';

import { labProcesses, removeCgroups, thawAll } from './cgroups.ts';
import { signal, startTime } from './daemons.ts';
import { labRoot } from './layout.ts';
import { until } from './process.ts';

/**
 * Leaves nothing of a lab, in whatever state it is: kills every process in the lab's cgroups or in one of the given
 * namespaces, unmounts what is mounted below the lab's root and removes the cgroups. The hosts' own mounts, network
 * devices and namespaces go with their last process. Throws with the pids if something does not die within 10 s.
 */
export async function sweep(namespaces: ReadonlySet<string>): Promise<void> {
  let left: number[] = [];
  const allDead = async () => {
    // Again and again: a process may fork, or a parent restart a child, while we kill.
    await thawAll();
    left = await livingProcesses(namespaces);
    if (left.includes(process.pid)) throw new Error('run it outside of the lab, not in "lab sh"');
    for (const pid of left) signal(pid, 'SIGKILL');
    return left.length === 0;
  };
  await until('the processes of the lab to die', allDead, { timeoutMs: 10_000, everyMs: 20 }).catch(
    (error: Error) => {
      throw new Error(`${error.message}: ${left.join(' ')} left`, { cause: error.cause });
    },
  );
  await unmountBelowRoot();
  await removeCgroups();
}

/** Kills the lab's QEMUs, which are no daemon's to stop: libvirtd leaves them running, and its subreaper stays with them. */
export async function killMachines(): Promise<void> {
  await thawAll();
  for (const pid of await labProcesses()) {
    const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
    if (name.startsWith('qemu-system')) signal(pid, 'SIGKILL');
  }
}

/** Whether there is anything that `sweep` would have to remove. */
export async function isSwept(namespaces: ReadonlySet<string> = new Set()): Promise<boolean> {
  return (await livingProcesses(namespaces)).length === 0 && (await mountsBelowRoot()).length === 0;
}

async function livingProcesses(namespaces: ReadonlySet<string>): Promise<number[]> {
  const pids = await labProcesses();
  if (namespaces.size > 0)
    for (const entry of await readdir('/proc')) {
      const pid = Number(entry);
      if (Number.isInteger(pid) && (await isInNamespace(pid, namespaces))) pids.add(pid);
    }
  const living = await Promise.all(
    [...pids].map(async (pid) => ((await startTime(pid)) === undefined ? [] : [pid])),
  );
  return living.flat();
}

async function isInNamespace(pid: number, namespaces: ReadonlySet<string>): Promise<boolean> {
  const links = ['net', 'mnt'].map((kind) => readlink(`/proc/${pid}/ns/${kind}`).catch(() => ''));
  return (await Promise.all(links)).some((link) => namespaces.has(link));
}

async function unmountBelowRoot(): Promise<void> {
  for (const mountpoint of (await mountsBelowRoot()).reverse()) await execa('umount', ['-l', mountpoint]);
}

async function mountsBelowRoot(): Promise<string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  return table
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mountpoint) => mountpoint.startsWith(`${labRoot}/`));
}
