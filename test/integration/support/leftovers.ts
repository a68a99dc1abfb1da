import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { hookClient } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { hostDirectory } from '../../lab/layout.ts';
import { on, until } from '../../lab/process.ts';

/** A machine holds, besides its domain and its QEMU, things that are named after it; its tap after the last ten digits of its name. */
const MACHINE = /caddis-[0-9a-f]{12}/;
const tapOf = (machine: string) => `cad-${machine.slice(-10)}`;

/**
 * What is on the lab's nodes and in its shared directories that belongs to no machine in a caddisd's job table, each as a line for people: domains, QEMUs, directories,
 * sockets and links, refusals, scratch files, address claims, bridge rules, taps. Machines of other tests do not show, so that it can be asked while they run.
 */
async function leftovers(lab: Lab): Promise<string[]> {
  return (await Promise.all(lab.nodes.map((node) => ofNode(lab, node)))).flat();
}

/** Waits until nothing is left over: what is taken down or made at this very moment is none. Throws with the list. */
export async function untilNothingLeft(lab: Lab, timeoutMs = 60_000): Promise<void> {
  let found: string[] = [];
  await until(
    'nothing to be left over',
    async () => {
      found = await leftovers(lab);
      return found.length === 0;
    },
    { timeoutMs, everyMs: 500 },
  ).catch((error: unknown) => {
    throw new Error(`left over after ${timeoutMs} ms:\n${found.join('\n')}`, { cause: error });
  });
}

/** Machines in a node's job table, with their jobs (`slurm-12`). Rejects when caddisd does not answer. */
export async function machinesOf(
  node: LabHost,
): Promise<Map<string, { job: string; phase: string; qemuPid: number | null }>> {
  const text = await on(node, [hookClient, '--connect-timeout', '20', 'status'], { timeoutMs: 30_000 });
  const { machines } = JSON.parse(text) as {
    machines: { job: string; machine: string; phase: string; qemu_pid: number | null }[];
  };
  return new Map(
    machines.map(({ machine, job, phase, qemu_pid }) => [machine, { job, phase, qemuPid: qemu_pid }]),
  );
}

async function ofNode(lab: Lab, node: LabHost): Promise<string[]> {
  // The table before and after: a machine that comes or goes meanwhile is nobody's fault.
  const before = await machinesOf(node);
  const seen = await Promise.all([
    domains(node),
    directories(node),
    links(node),
    scratchFiles(lab, node),
    claims(lab, node),
    bridgeRules(node),
    taps(node),
    qemus(node),
  ]);
  const after = await machinesOf(node);
  const known = [...before.keys(), ...after.keys()];
  const names = new Set([
    ...known,
    ...known.map(tapOf),
    ...[...before.values(), ...after.values()].map(({ job }) => job),
  ]);
  return seen
    .flat()
    .filter(({ owner }) => !names.has(owner))
    .map(({ what, owner }) => `${node.name}: ${what} of ${owner}`);
}

interface Found {
  readonly what: string;
  readonly owner: string;
}

const found = (what: string, owners: readonly string[]): Found[] => owners.map((owner) => ({ what, owner }));

async function domains(node: LabHost): Promise<Found[]> {
  const list = await on(node, ['virsh', '-c', 'qemu:///system', 'list', '--all', '--name']);
  return found(
    'domain',
    list.split('\n').filter((name) => MACHINE.test(name)),
  );
}

async function directories(node: LabHost): Promise<Found[]> {
  return found('directory', await readdir(join(runDir(node), 'machines')));
}

/** Links of jobs to their machines, and the plain files that say why a job got none. */
async function links(node: LabHost): Promise<Found[]> {
  const names = await readdir(join(runDir(node), 'jobs'));
  // KEY.native: Grid Engine's prolog lets a job run natively, so it has no machine by which it could be told from a leftover.
  return found(
    'link or refusal',
    names.filter((name) => !name.endsWith('.native')),
  );
}

async function scratchFiles(lab: Lab, node: LabHost): Promise<Found[]> {
  const files = await readdir(join(lab.paths.root, 'scratch', node.name)).catch(() => [] as string[]);
  return found(
    'scratch file',
    files.map((file) => file.replace(/\.img$/, '')),
  );
}

async function claims(lab: Lab, node: LabHost): Promise<Found[]> {
  const dir = join(lab.paths.root, 'addresses');
  const texts = await Promise.all(
    (await readdir(dir)).map((name) => readFile(join(dir, name), 'utf8').catch(() => '')),
  );
  return texts.flatMap((text) => {
    const [host, machine = ''] = text.trim().split(' ');
    return host === node.name ? found('address claim', [machine]) : [];
  });
}

async function bridgeRules(node: LabHost): Promise<Found[]> {
  const text = await on(node, ['/usr/sbin/nft', 'list', 'set', 'bridge', 'caddis', 'machines']);
  return found(
    'bridge rule',
    [...text.matchAll(/"(cad-[0-9a-f]+)"/g)].map((match) => match[1] as string),
  );
}

async function taps(node: LabHost): Promise<Found[]> {
  const text = await on(node, ['ip', '-o', 'link']);
  return found(
    'tap',
    [...text.matchAll(/^\d+: (cad-[0-9a-f]+)[:@]/gm)].map((match) => match[1] as string),
  );
}

/** QEMUs in this node's network namespace; nodes of the lab share their pids. */
async function qemus(node: LabHost): Promise<Found[]> {
  const text = await on(node, [
    'sh',
    '-c',
    'own=$(readlink /proc/self/ns/net); for p in $(pgrep qemu-system); do [ "$(readlink /proc/$p/ns/net)" = "$own" ] && tr "\\0" " " </proc/$p/cmdline; echo; done; true',
  ]);
  return found(
    'QEMU',
    [...text.matchAll(/guest=(caddis-[0-9a-f]{12})/g)].map((match) => match[1] as string),
  );
}

function runDir(node: LabHost): string {
  return join(hostDirectory(node.name), 'run/caddis');
}
