import { chown, mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { formatKey, type JobKey } from '../model/job.ts';

/** Where one machine's files are: `<run>/machines/<machine>/`. */
export interface MachinePlaces {
  readonly dir: string;
  readonly control: string;
  readonly bulk: string;
  readonly console: string;
  /** The steps' socket: the job's user may connect, nobody else. */
  readonly stepSocket: string;
  /** Root only: what the epilog ends when caddisd is dead. */
  readonly qemuPid: string;
}

export function machinePlaces(runDir: string, machine: string): MachinePlaces {
  const dir = join(runDir, 'machines', machine);
  return {
    dir,
    control: join(dir, 'qemu', 'ctl'),
    bulk: join(dir, 'qemu', 'bulk'),
    console: join(dir, 'qemu', 'console'),
    stepSocket: join(dir, 'step.sock'),
    qemuPid: join(dir, 'qemu.pid'),
  };
}

/** Where root's hooks and commands ask. */
export function rootSocket(runDir: string): string {
  return join(runDir, 'hook.sock');
}

/** Where one user asks for jobs that have ended. */
export function userSocket(runDir: string, uid: number): string {
  return join(runDir, 'users', `${uid}.sock`);
}

/** Makes the machine's directory. 0711: the job's user reaches its own socket by name and can list nothing. `qemu/` belongs to the user that QEMU runs as. */
export async function createPlaces(places: MachinePlaces, qemu: { uid: number; gid: number }): Promise<void> {
  await mkdir(places.dir, { recursive: true, mode: 0o711 });
  const dir = join(places.dir, 'qemu');
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await chown(dir, qemu.uid, qemu.gid);
}

export async function removePlaces(places: MachinePlaces): Promise<void> {
  await rm(places.dir, { recursive: true, force: true });
}

/** `<run>/jobs/<key>` -> the newest incarnation's machine; replaced atomically, so that a step finds one or the other. */
export async function linkJob(runDir: string, key: JobKey, machine: string): Promise<void> {
  const path = join(runDir, 'jobs', formatKey(key));
  const beside = `${path}.${machine}`;
  await rm(beside, { force: true });
  await symlink(join('..', 'machines', machine), beside);
  await rename(beside, path);
}

/** Takes the link away if it still means this machine: a newer incarnation may own it by now. */
export async function unlinkJob(runDir: string, key: JobKey, machine: string): Promise<void> {
  const path = join(runDir, 'jobs', formatKey(key));
  const target = await readlink(path).catch(() => undefined);
  if (target === join('..', 'machines', machine)) await rm(path, { force: true });
}

/** Makes `<run>`, `<run>/jobs` and `<run>/machines`. */
export async function createRunDir(runDir: string): Promise<void> {
  for (const dir of [runDir, join(runDir, 'jobs'), join(runDir, 'machines'), join(runDir, 'users')])
    await mkdir(dir, { recursive: true, mode: 0o711 });
}

/** Removes what machines that are gone have left: directories, and links to them. Returns the machines' names. */
export async function sweepPlaces(runDir: string, isAlive: (machine: string) => boolean): Promise<string[]> {
  const gone = (await readdir(join(runDir, 'machines'))).filter((machine) => !isAlive(machine));
  for (const machine of gone) await removePlaces(machinePlaces(runDir, machine));
  for (const name of await readdir(join(runDir, 'jobs'))) {
    const path = join(runDir, 'jobs', name);
    // No link: a reason, or one that was taken away at this moment.
    const machine = (await readlink(path).catch(() => undefined))?.split('/').pop();
    if (machine !== undefined && !isAlive(machine)) await rm(path, { force: true });
  }
  return gone;
}

/** Records QEMU's pid and its start time, so that a pid used again is never taken for it. */
export async function recordQemu(places: MachinePlaces, pid: number, startTicks: string): Promise<void> {
  await writeFile(places.qemuPid, `${pid} ${startTicks}\n`, { mode: 0o600 });
}

/** What recordQemu wrote; undefined if there is none. */
export async function recordedQemu(
  places: MachinePlaces,
): Promise<{ readonly pid: number; readonly startTicks: string } | undefined> {
  const [pid, startTicks] = (await readFile(places.qemuPid, 'utf8').catch(() => '')).trim().split(' ');
  return pid && startTicks ? { pid: Number(pid), startTicks } : undefined;
}
