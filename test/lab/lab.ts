import { chmod, mkdir } from 'node:fs/promises';

import { availableCpus } from './cgroups.ts';
import { recordedDaemons, stopDaemon } from './daemons.ts';
import { makeHomes, startGanesha } from './home.ts';
import type { Lab, LabHost } from './host.ts';
import { makeHosts } from './hosts.ts';
import { headName, labPaths, nodeNames } from './layout.ts';
import { startLibvirtd } from './libvirt.ts';
import { withLock } from './lock.ts';
import { caddisd, schedulers } from './parts.ts';
import { pinHead, planCpus, planWhileStarting } from './pinning.ts';
import { makeCertificates } from './pki.ts';
import { buildPrograms } from './programs.ts';
import { labOf, loadState, removeState, saveState } from './state.ts';
import { startStore } from './store.ts';
import { isSwept, killMachines, sweep } from './sweep.ts';
import { ensureUsers } from './users.ts';

export interface UpOptions {
  /** Each node on a core of its own (default true). */
  readonly pinned?: boolean;
  /** Parts to leave out: `slurm`, `gridengine`, `caddisd`. */
  readonly without?: readonly string[];
  /** Told what was done and how long it took. */
  readonly log?: (line: string) => void;
}

/**
 * Brings the lab up, or checks that it is: a lab of which every part runs is left as it is; what a crash left is
 * taken down first. If a part fails to start, everything is taken down again and its error thrown.
 */
export async function up(options: UpOptions = {}): Promise<Lab> {
  const { pinned = true, without = [], log = () => {} } = options;
  requireRoot();
  return await withLock(async () => {
    const running = await healthy();
    if (running) {
      log('the lab is up already');
      return running;
    }
    await takeDown(log);
    try {
      return await start(pinned, without, log);
    } catch (error) {
      await takeDown(log);
      throw error;
    }
  });
}

/** Takes the lab down, in whatever state it is; leaves no process, mount, namespace or cgroup. Files, logs and accounts stay. */
export async function down(log: (line: string) => void = () => {}): Promise<void> {
  requireRoot();
  await withLock(() => takeDown(log));
}

/** The lab that is up, or undefined. Checks that its hosts exist, not every daemon. */
export async function current(): Promise<Lab | undefined> {
  const state = await loadState();
  return state?.phase === 'up' ? await labOf(state) : undefined;
}

async function healthy(): Promise<Lab | undefined> {
  const lab = await current();
  const daemons = await recordedDaemons();
  return daemons.every(({ alive }) => alive) ? lab : undefined;
}

async function start(pinned: boolean, without: readonly string[], log: (line: string) => void): Promise<Lab> {
  const step = stopwatch(log);
  await Promise.all([labPaths.logs, labPaths.run].map((directory) => mkdir(directory, { recursive: true })));
  await chmod(labPaths.root, 0o755);
  const [users, available] = await Promise.all([ensureUsers(), availableCpus(), buildPrograms()]);
  const plan = planCpus(available, pinned);
  const hosts = await makeHosts(planWhileStarting(plan, available));
  const head = hosts.get(headName) as LabHost;
  const nodes = nodeNames.map((name) => hosts.get(name) as LabHost);
  const lab: Lab = { paths: labPaths, head, nodes, users };
  await saveState(lab, 'starting', pinned);
  step('hosts');

  await Promise.all([makeHomes(users), makeCertificates(labPaths.root, nodes)]);
  const batchSystems = (await schedulers()).filter(({ name }) => !without.includes(name));
  // Side by side: the schedulers need hosts, users and home directories, only caddisd needs all the rest.
  await allOrFirstError([
    timed(log, 'home', startGanesha(head)),
    timed(log, 'store', startStore(head, nodes)),
    ...nodes.map((node) => timed(log, `libvirtd on ${node.name}`, startLibvirtd(node))),
    ...batchSystems.map((scheduler) => timed(log, scheduler.name, scheduler.start(lab))),
  ]);
  const service = without.includes('caddisd') ? undefined : await caddisd();
  if (service) {
    const step = stopwatch(log);
    await service.start(lab);
    step('caddisd');
  }
  await pinHead(plan);
  await saveState(lab, 'up', pinned);
  return lab;
}

async function takeDown(log: (line: string) => void): Promise<void> {
  const state = await loadState();
  const namespaces = new Set(Object.values(state?.hosts ?? {}).flatMap((host) => host.namespaces));
  if (!(await isSwept(namespaces))) {
    const step = stopwatch(log);
    const lab = state && (await labOf(state));
    if (lab) await stopParts(lab, log);
    await killMachines();
    for (const { host, name, alive } of (await recordedDaemons()).reverse())
      if (alive && host !== '') await stopDaemon(host, name).catch((error: Error) => log(error.message));
    await sweep(namespaces);
    step('taken down');
  } else await sweep(new Set());
  for (const { host, name } of await recordedDaemons()) await stopDaemon(host, name);
  await removeState();
}

/** Each part stops itself as a site would stop it; one that cannot is left to the sweep. */
async function stopParts(lab: Lab, log: (line: string) => void): Promise<void> {
  const stop = async (name: string, work: () => Promise<void> | undefined) => {
    const step = stopwatch(log);
    try {
      await bounded(work(), 15_000);
      step(`${name} stopped`);
    } catch (error) {
      log(`${name} did not stop by itself: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  await stop('caddisd', () => caddisd().then((service) => service?.stop(lab)));
  const batchSystems = await schedulers().catch(() => []);
  await Promise.all(batchSystems.map((scheduler) => stop(scheduler.name, () => scheduler.stop(lab))));
}

async function bounded(work: Promise<void> | undefined, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${timeoutMs} ms`)), timeoutMs);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Waits for all, also when one fails: a start that is still under way must not race with the clean-up. */
async function allOrFirstError(work: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
}

async function timed(log: (line: string) => void, what: string, work: Promise<void>): Promise<void> {
  const step = stopwatch(log);
  await work;
  step(what);
}

function stopwatch(log: (line: string) => void): (what: string) => void {
  let last = performance.now();
  return (what) => {
    const now = performance.now();
    log(`${what}: ${((now - last) / 1000).toFixed(2)} s`);
    last = now;
  };
}

function requireRoot(): void {
  if (process.getuid?.() !== 0)
    throw new Error('the lab makes network namespaces and cgroups: run it as root');
}
