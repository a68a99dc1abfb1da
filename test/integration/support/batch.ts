import { randomBytes } from 'node:crypto';
import { chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';

import type { Lab } from '../../lab/host.ts';
import { until } from '../../lab/process.ts';
import { shellCommand } from '../../lab/shell.ts';

export type BatchSystem = 'slurm' | 'gridengine';
/** `vm`: the ordinary partition or queue; `native`: the same nodes without machines, for comparison. */
export type Where = 'vm' | 'native';

export interface BatchJob {
  /** The script's text; the first line may be `#!`. */
  readonly script?: string;
  /** A command instead: `--wrap` and `-b y`. */
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  /** Options of sbatch or qsub, before the script. */
  readonly options?: readonly string[];
  /** Another queue or partition than the ordinary one of `where`; null: none is named. */
  readonly queue?: string | null;
  readonly user?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Files that lie in the job's directory before it is submitted. */
  readonly files?: Readonly<Record<string, string>>;
  /** umask of the submitting shell (Slurm propagates it). */
  readonly umask?: number;
  /** Stderr into stdout's file. */
  readonly joined?: boolean;
  readonly timeoutMs?: number;
}

export interface BatchResult {
  readonly id: string;
  readonly stdout: string;
  readonly stderr: string;
  /** As the scheduler's accounting says: exit code, and the signal that ended the job, 0 if none. */
  readonly exitCode: number;
  readonly signal: number;
  readonly state: string;
  readonly directory: string;
}

const PARTITION: Record<BatchSystem, Record<Where, string>> = {
  slurm: { vm: 'main', native: 'native' },
  gridengine: { vm: 'all.q', native: 'native.q' },
};

/** Runs a command on the head as a user with the schedulers' environment. */
export async function asUser(
  lab: Lab,
  command: readonly string[],
  options: {
    user?: string;
    cwd?: string;
    environment?: Readonly<Record<string, string>>;
    timeoutMs?: number;
    input?: string;
    host?: string;
  } = {},
): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const { user = 'alice', cwd, environment = {}, timeoutMs = 60_000, input, host = 'head' } = options;
  const assignments = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const inPlace = cwd === undefined ? [] : ['env', '-C', cwd, ...assignments];
  const [file, ...args] = await shellCommand(lab, { host, user, command: [...inPlace, ...command] });
  const result = await execa(file as string, args, {
    timeout: timeoutMs,
    reject: false,
    stripFinalNewline: false,
    ...(input === undefined ? { stdin: 'ignore' } : { input }),
  });
  if (result.timedOut)
    throw new Error(
      `${command.join(' ')}: not done after ${timeoutMs} ms\n${result.stdout}\n${result.stderr}`,
    );
  return { stdout: result.stdout, stderr: result.stderr, exitCode: result.exitCode ?? -1 };
}

/** A fresh directory in the shared home, owned by the user. */
export async function jobDirectory(lab: Lab, user = 'alice'): Promise<string> {
  const account = lab.users.find(({ name }) => name === user);
  if (!account) throw new Error(`no user ${user} in the lab`);
  const directory = join(account.home, 'jobs', randomBytes(5).toString('hex'));
  await mkdir(directory, { recursive: true });
  await chown(join(account.home, 'jobs'), account.uid, account.gid);
  await chown(directory, account.uid, account.gid);
  return directory;
}

/** Submits a job as an ordinary user would, waits for its end, and reads what it left. */
export async function runBatch(
  lab: Lab,
  system: BatchSystem,
  where: Where,
  job: BatchJob,
): Promise<BatchResult> {
  const { id, directory } = await submit(lab, system, where, job);
  const ended = await waitForEnd(lab, system, id, job.timeoutMs ?? 60_000);
  const [stdout, stderr] = await Promise.all(
    ['out', 'err'].map((name) => readFile(join(directory, name), 'utf8').catch(() => '')),
  );
  return { id, directory, stdout: stdout ?? '', stderr: stderr ?? '', ...ended };
}

/** Submits and returns the job's id at once. */
export async function submit(
  lab: Lab,
  system: BatchSystem,
  where: Where,
  job: BatchJob,
): Promise<{ id: string; directory: string }> {
  const directory = await jobDirectory(lab, job.user);
  for (const [name, content] of Object.entries({
    ...job.files,
    ...(job.script === undefined ? {} : { 'job.sh': job.script }),
  }))
    await writeFile(join(directory, name), content, { mode: 0o755 });
  const output = job.joined
    ? system === 'slurm'
      ? ['-o', 'out']
      : ['-j', 'y', '-o', 'out']
    : ['-o', 'out', '-e', 'err'];
  const queue = job.queue === undefined ? PARTITION[system][where] : job.queue;
  const place = queue === null ? [] : [system === 'slurm' ? '-p' : '-q', queue];
  const what =
    job.command === undefined
      ? ['job.sh', ...(job.args ?? [])]
      : system === 'slurm'
        ? [`--wrap=${job.command.join(' ')}`]
        : ['-b', 'y', ...job.command];
  const command =
    system === 'slurm'
      ? ['sbatch', '--parsable', ...place, ...output, ...(job.options ?? []), ...what]
      : ['qsub', '-terse', '-cwd', ...place, ...output, ...(job.options ?? []), ...what];
  const masked =
    job.umask === undefined
      ? command
      : ['sh', '-c', `umask ${job.umask.toString(8)}; exec "$@"`, 'sh', ...command];
  const submitted = await asUser(lab, masked, {
    cwd: directory,
    ...(job.user === undefined ? {} : { user: job.user }),
    ...(job.environment === undefined ? {} : { environment: job.environment }),
  });
  const id = /^(\d+)/.exec(submitted.stdout)?.[1];
  if (submitted.exitCode !== 0 || id === undefined)
    throw new Error(
      `${command.join(' ')} ended with ${submitted.exitCode}: ${submitted.stdout}${submitted.stderr}`,
    );
  return { id, directory };
}

/** Polls until the scheduler's own books say how the job ended. */
export async function waitForEnd(
  lab: Lab,
  system: BatchSystem,
  id: string,
  timeoutMs = 60_000,
): Promise<{ exitCode: number; signal: number; state: string }> {
  const ask = system === 'slurm' ? slurmEnd : gridEngineEnd;
  return until(`job ${id} of ${system} to end`, () => ask(lab, id), { timeoutMs, everyMs: 200 });
}

async function slurmEnd(lab: Lab, id: string) {
  const { stdout } = await asUser(lab, ['scontrol', 'show', 'job', '-o', id]);
  const states = [...stdout.matchAll(/JobState=(\w+)/g)].map((match) => match[1] as string);
  const last = states[0];
  if (
    last === undefined ||
    states.some((state) => ['PENDING', 'CONFIGURING', 'RUNNING', 'COMPLETING', 'SUSPENDED'].includes(state))
  )
    return undefined;
  const exit = /ExitCode=(\d+):(\d+)/.exec(stdout);
  return { state: last, exitCode: Number(exit?.[1]), signal: Number(exit?.[2]) };
}

async function gridEngineEnd(lab: Lab, id: string) {
  const waiting = await asUser(lab, ['qstat', '-j', id]);
  if (waiting.exitCode === 0) {
    const listed = await asUser(lab, ['qstat', '-u', '*']);
    const state =
      new RegExp(`^\\s*${id}\\s+\\S+\\s+\\S+\\s+\\S+\\s+(\\S+)`, 'm').exec(listed.stdout)?.[1] ?? '';
    if (!state.includes('E')) return undefined;
    return { state, exitCode: -1, signal: 0 };
  }
  const { stdout, exitCode } = await asUser(lab, ['qacct', '-j', id]);
  if (exitCode !== 0) return undefined;
  // A job that was started several times has a record of each start: the last one of each task counts.
  const records = stdout.split(/^=+$/m).filter((record) => record.includes('exit_status'));
  const field = (record: string, name: string) =>
    new RegExp(`^${name}\\s+(\\S.*)$`, 'm').exec(record)?.[1]?.trim() ?? '';
  const last = new Map(records.map((record) => [field(record, 'taskid'), record]));
  const failed = field([...last.values()].at(-1) ?? '', 'failed');
  // It says `137                  (Killed)` of one that a signal has ended.
  const status = Math.max(
    ...[...last.values()].map((record) => Number.parseInt(field(record, 'exit_status'), 10)),
  );
  return { state: failed, exitCode: status, signal: status > 128 ? status - 128 : 0 };
}
