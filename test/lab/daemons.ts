import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { LabHost } from './host.ts';
import { labPaths, programs } from './layout.ts';
import { until } from './process.ts';

/** A daemon as its pid file `<run>/<host>-<name>.pid` tells it. */
export interface RecordedDaemon {
  readonly host: string;
  readonly name: string;
  readonly pid: number;
  /** It runs, it is the process that was recorded, and it is in the lab. */
  readonly alive: boolean;
}

/**
 * Starts a daemon that stays in the foreground on `host`, detached from this process, with its output appended to
 * `<logs>/<host>-<name>.log`, and records it. `reapOrphans` puts it under a subreaper, whose pid is the one recorded.
 * Readiness is the caller's to wait for.
 */
export async function startDaemon(
  host: LabHost,
  name: string,
  argv: readonly string[],
  options: { env?: Record<string, string>; reapOrphans?: boolean } = {},
): Promise<number> {
  const [file, ...args] = [...host.prefix, ...(options.reapOrphans ? [programs.subreaper] : []), ...argv];
  const log = openSync(daemonLog(host.name, name), 'a');
  try {
    const child = spawn(file as string, args, {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: '/',
      env: { ...process.env, ...options.env },
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    child.unref();
    const pid = child.pid as number;
    await recordDaemon(host, name, pid);
    return pid;
  } finally {
    closeSync(log);
  }
}

/**
 * Waits until a recorded daemon is ready. Throws with the end of its log after `timeoutMs`, or as soon as it has died:
 * a mistake in a configuration shows at once.
 */
export async function untilReady(
  host: LabHost,
  name: string,
  ready: () => Promise<boolean>,
  timeoutMs = 15_000,
): Promise<void> {
  const readyOrDead = async () => {
    if (await ready().catch(() => false)) return 'ready';
    const record = await readRecord(host.name, name);
    // Just started, it may not be in the lab yet: that comes before its own program.
    return record && (await startTime(record.pid)) !== undefined ? undefined : 'dead';
  };
  const outcome = await until(`${name} on ${host.name}`, readyOrDead, { timeoutMs }).catch(() => 'not ready');
  if (outcome === 'ready') return;
  const what = outcome === 'dead' ? 'died at its start' : `was not ready after ${timeoutMs} ms`;
  const log = await logTail(host.name, name);
  throw new Error(`${name} on ${host.name} ${what}; ${daemonLog(host.name, name)} ends with:\n${log}`);
}

/** Records a daemon that went to the background by itself, so that `lab down` stops it and `lab status` shows it. */
export async function recordDaemon(host: LabHost, name: string, pid: number): Promise<void> {
  await writeFile(pidFile(host.name, name), `${pid} ${(await startTime(pid)) ?? ''}\n`);
}

/** TERM, then after `timeoutMs` KILL; done when the process is gone or a zombie. A daemon that does not run is no error. */
export async function stopDaemon(host: string, name: string, timeoutMs = 3_000): Promise<void> {
  const daemon = await readRecord(host, name);
  if (daemon?.alive) {
    const gone = async () => !(await readRecord(host, name))?.alive;
    signal(daemon.pid, 'SIGTERM');
    await until(`${host}-${name} to end`, gone, { timeoutMs, everyMs: 20 }).catch(async () => {
      signal(daemon.pid, 'SIGKILL');
      await until(`${host}-${name} to die of SIGKILL`, gone, { timeoutMs: 3_000, everyMs: 20 });
    });
  }
  await rm(pidFile(host, name), { force: true });
}

/** All that is recorded, in the order of starting. */
export async function recordedDaemons(): Promise<RecordedDaemon[]> {
  const files = (await readdir(labPaths.run).catch(() => [])).filter((file) => file.endsWith('.pid'));
  const dated = await Promise.all(
    files.map(async (file) => ({ file, mtimeMs: (await stat(join(labPaths.run, file))).mtimeMs })),
  );
  const records = await Promise.all(
    dated
      .sort((a, b) => a.mtimeMs - b.mtimeMs)
      .map(({ file }) => {
        const [host = '', ...name] = file.slice(0, -'.pid'.length).split('-');
        return readRecord(host, name.join('-'));
      }),
  );
  return records.filter((record) => record !== undefined);
}

export function daemonLog(host: string, name: string): string {
  return join(labPaths.logs, `${host}-${name}.log`);
}

async function logTail(host: string, name: string, lines = 15): Promise<string> {
  const text = await readFile(daemonLog(host, name), 'utf8').catch(() => '(no log)');
  return text.trimEnd().split('\n').slice(-lines).join('\n');
}

/** Start time in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)); undefined if it is gone or a zombie. */
export async function startTime(pid: number): Promise<number | undefined> {
  const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The command name, in parentheses, may hold spaces: count from its end.
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  return line === '' || fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[19]);
}

async function readRecord(host: string, name: string): Promise<RecordedDaemon | undefined> {
  const text = await readFile(pidFile(host, name), 'utf8').catch(() => '');
  // A daemon that writes the file itself gives no start time; being in the lab's cgroups must do then.
  const [pid = 0, recordedStart] = text.trim().split(/\s+/).map(Number);
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  const started = await startTime(pid);
  const same = started !== undefined && (recordedStart === undefined || recordedStart === started);
  return { host, name, pid, alive: same && (await isInLab(pid)) };
}

async function isInLab(pid: number): Promise<boolean> {
  return (await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '')).includes('/caddis-lab/');
}

function pidFile(host: string, name: string): string {
  return join(labPaths.run, `${host}-${name}.pid`);
}

/** Sends a signal; that the process is gone already is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
