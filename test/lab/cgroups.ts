import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { until } from './process.ts';

/** Hierarchies of cgroup v1 that a host gets a subtree of; the same list as in labhost.c. */
export const controllers = [
  'cpu',
  'cpuacct',
  'cpuset',
  'memory',
  'devices',
  'freezer',
  'blkio',
  'pids',
] as const;

const tree = 'caddis-lab';
const mountpoint = '/sys/fs/cgroup';

/** Makes `caddis-lab/<host>` in every hierarchy. The cpuset gets `cpus` (a list as in cpuset.cpus) and all memory nodes. */
export async function makeHostCgroups(host: string, cpus: string): Promise<void> {
  await Promise.all(
    controllers.map(async (controller) => {
      const directory = join(mountpoint, controller, tree, host);
      await mkdir(directory, { recursive: true });
      if (controller !== 'cpuset') return;
      const top = join(mountpoint, controller);
      const memoryNodes = await readFile(join(top, 'cpuset.mems'), 'utf8');
      const allCpus = await readFile(join(top, 'cpuset.cpus'), 'utf8');
      // An empty cpuset takes no process; a parent must have what its child gets.
      await writeFile(join(top, tree, 'cpuset.mems'), memoryNodes);
      await writeFile(join(top, tree, 'cpuset.cpus'), allCpus);
      await writeFile(join(directory, 'cpuset.mems'), memoryNodes);
      await writeFile(join(directory, 'cpuset.cpus'), cpus);
    }),
  );
}

/** Moves a host to other CPUs. Fails with EBUSY when a child cgroup still has CPUs that the host would lose. */
export async function setCpus(host: string, cpus: string): Promise<void> {
  await writeFile(join(mountpoint, 'cpuset', tree, host, 'cpuset.cpus'), cpus);
}

/** CPUs of this machine that may be used, in order. */
export async function availableCpus(): Promise<number[]> {
  const list = (await readFile(join(mountpoint, 'cpuset/cpuset.cpus'), 'utf8')).trim();
  return list.split(',').flatMap((range) => {
    const [first = Number.NaN, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/** CPU that all of a host has used since its cgroups were made, its machines included, in milliseconds. */
export async function hostCpuMs(host: string): Promise<number> {
  return Number(await readFile(join(mountpoint, 'cpuacct', tree, host, 'cpuacct.usage'), 'latin1')) / 1e6;
}

/** Every live process in the lab's cgroups (of one host, if given), from all hierarchies: a daemon may have left some of them. */
export async function labProcesses(host?: string): Promise<Set<number>> {
  const pids = new Set<number>();
  await Promise.all(
    controllers.map(async (controller) => {
      for (const directory of await subtree(join(mountpoint, controller, tree, host ?? '')))
        for (const line of (await readIfThere(join(directory, 'cgroup.procs'))).split('\n'))
          if (Number(line) > 0) pids.add(Number(line));
    }),
  );
  return pids;
}

/** Thaws all of the lab: a process in a frozen v1 cgroup does not die even of SIGKILL. */
export async function thawAll(): Promise<void> {
  for (const directory of await subtree(join(mountpoint, 'freezer', tree)))
    await writeFile(join(directory, 'freezer.state'), 'THAWED').catch(() => {});
}

/** Removes all cgroups of the lab; they must be empty of live processes. Waits up to 5 s for the dying. */
export async function removeCgroups(): Promise<void> {
  await Promise.all(
    controllers.map(async (controller) => {
      const top = join(mountpoint, controller, tree);
      await until(
        `cgroup ${top} to be removable`,
        async () => {
          for (const directory of (await subtree(top)).reverse()) await rmdir(directory).catch(() => {});
          return (await subtree(top)).length === 0;
        },
        { timeoutMs: 5_000 },
      );
    }),
  );
}

/** The directory and all below it, parents first; nothing if it does not exist. */
async function subtree(top: string): Promise<string[]> {
  let entries: { name: string; isDirectory(): boolean }[];
  try {
    entries = await readdir(top, { withFileTypes: true });
  } catch {
    return [];
  }
  const below = entries.filter((entry) => entry.isDirectory()).map((entry) => subtree(join(top, entry.name)));
  return [top, ...(await Promise.all(below)).flat()];
}

async function readIfThere(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch(() => '');
}
