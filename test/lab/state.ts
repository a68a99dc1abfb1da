import { readFile, readlink, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { z } from 'zod';

import { startTime } from './daemons.ts';
import type { Lab } from './host.ts';
import { labHost } from './hosts.ts';
import { headName, hostNames, labPaths, nodeNames } from './layout.ts';

const file = join(labPaths.run, 'lab.json');

const schema = z.object({
  /** `starting` until all parts are up: a lab that was left so is taken down before the next `up`. */
  phase: z.enum(['starting', 'up']),
  pinned: z.boolean(),
  hosts: z.record(
    z.enum(hostNames as unknown as ['head', 'n1', 'n2']),
    z.object({ pid: z.number(), startTicks: z.number(), namespaces: z.array(z.string()) }),
  ),
  users: z.array(z.object({ name: z.string(), uid: z.number(), gid: z.number(), home: z.string() })),
});

export type LabState = z.infer<typeof schema>;

/** Writes down what runs; called as soon as the hosts exist, and again when all is up. */
export async function saveState(lab: Lab, phase: LabState['phase'], pinned: boolean): Promise<void> {
  const hosts = await Promise.all(
    [lab.head, ...lab.nodes].map(async ({ name, namespacePid: pid }) => {
      const namespaces = await Promise.all(['net', 'mnt'].map((kind) => readlink(`/proc/${pid}/ns/${kind}`)));
      return [name, { pid, startTicks: (await startTime(pid)) ?? 0, namespaces }] as const;
    }),
  );
  const state = { phase, pinned, hosts: Object.fromEntries(hosts), users: lab.users };
  await writeFile(`${file}.new`, `${JSON.stringify(state, undefined, 2)}\n`);
  await rename(`${file}.new`, file);
}

/** What the last `up` wrote, or undefined if there is none or it cannot be read. */
export async function loadState(): Promise<LabState | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '');
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

export async function removeState(): Promise<void> {
  await rm(file, { force: true });
}

/** The Lab of a state whose three hosts all still exist, else undefined. */
export async function labOf(state: LabState): Promise<Lab | undefined> {
  for (const name of hostNames)
    if ((await startTime(state.hosts[name].pid)) !== state.hosts[name].startTicks) return undefined;
  return {
    paths: labPaths,
    head: labHost(headName, state.hosts[headName].pid),
    nodes: nodeNames.map((name) => labHost(name, state.hosts[name].pid)),
    users: state.users,
  };
}
