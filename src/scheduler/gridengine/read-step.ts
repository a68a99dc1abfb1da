import { basename, dirname, isAbsolute, join } from 'node:path';

import type { HookCall, StepPlan } from '../../model/job.ts';
import { BadHookCall } from '../scheduler.ts';
import type { FindAccount } from './accounts.ts';
import { readKey, required } from './job-key.ts';
import { readSpoolConfig, type SpoolConfig } from './spool-config.ts';

/** Variables that are ours or the starter's own: a job without a starter_method does not see them. */
const NOT_THE_JOBS = /^(SGE_STARTER_|CADDIS_)/;

/**
 * How sge_shepherd would start this step if there were no starter_method (builtin_starter.c of 8.1.9; measured in docs and tests).
 * The starter's argv is the script in the spool with its arguments, the command of `-b y`, or the words of a `qrsh` command.
 */
export function readStep(
  call: HookCall,
  findAccount: FindAccount,
  readConfig: (spoolDir: string) => SpoolConfig = readSpoolConfig,
): StepPlan {
  const { env } = call;
  readKey(env);
  const words = stepWords(call.args);
  const spoolDir = required(env, 'SGE_JOB_SPOOL_DIR');
  const plan = {
    env: jobEnvironment(env),
    cwd: call.cwd,
    carry: carryHostfile(call.uid, env),
    directories: ownDirectories(env),
  };
  const shellPath = env.SGE_STARTER_SHELL_PATH ?? '';
  if (shellPath === '') {
    // qrsh CMD and qrsh -inherit: qrsh_starter runs the login shell of the account, not the queue's shell.
    const { shell } = findAccount(String(call.uid));
    return {
      ...plan,
      ...run([basename(shell), '-c', words.join(' ')], shell),
      name: qrshName(env, spoolDir),
    };
  }
  const config = readConfig(spoolDir);
  const name = 'batch';
  const argv0 = `${env.SGE_STARTER_USE_LOGIN_SHELL === 'true' ? '-' : ''}${basename(shellPath)}`;
  if (config.handleAsBinary) {
    if (config.noShell) return { ...plan, ...run(words, undefined, true), name };
    return { ...plan, ...run([argv0, '-c', words.join(' ')], shellPath), name };
  }
  const carry = [...carryScript(words[0] as string, call.uid, env), ...plan.carry];
  // With script_from_stdin Grid Engine gives the starter "-s" and the script as stdin: the words go to the shell as in posix_compliant.
  if (config.shellStartMode === 'unix_behavior')
    return { ...plan, ...run(words, undefined, true), carry, name };
  return { ...plan, ...run([argv0, ...words], shellPath), carry, name };
}

function run(
  argv: readonly string[],
  program?: string,
  pathSearch = false,
): Pick<StepPlan, 'argv' | 'program' | 'pathSearch'> {
  return { argv, program, pathSearch };
}

/** What follows `--` (or our own options) in `caddis-hook exec --scheduler gridengine -- CMD ARG...`. */
function stepWords(args: readonly string[]): readonly string[] {
  const words = [...args];
  while (words[0]?.startsWith('--')) {
    const option = words.shift();
    if (option === '--') break;
    if (option === '--scheduler') words.shift();
  }
  if (words.length === 0)
    throw new BadHookCall('expected the step\'s command after "caddis-hook exec --", got nothing');
  return words;
}

/** The script lies in the spool of the host only (`<spool>/job_scripts/<id>`), where the guest cannot see it. */
function carryScript(path: string, uid: number, env: Readonly<Record<string, string>>): StepPlan['carry'] {
  const scripts = join(dirname(dirname(required(env, 'SGE_JOB_SPOOL_DIR'))), 'job_scripts');
  return dirname(path) === scripts ? [{ path, mode: 0o755, uid }] : [];
}

/** `$PE_HOSTFILE` of a parallel job lies in the spool of the host, too. */
function carryHostfile(uid: number, env: Readonly<Record<string, string>>): StepPlan['carry'] {
  const path = env.PE_HOSTFILE;
  return path !== undefined && path === join(required(env, 'SGE_JOB_SPOOL_DIR'), 'pe_hostfile')
    ? [{ path, mode: 0o644, uid }]
    : [];
}

/** `<tmpdir of the queue>/<job>.<task>.<queue>`: sge_execd makes it on the host, and takes it away there. */
function ownDirectories(env: Readonly<Record<string, string>>): readonly string[] {
  const { TMPDIR = '' } = env;
  return isAbsolute(TMPDIR) && basename(TMPDIR).startsWith(`${env.JOB_ID}.`) ? [TMPDIR] : [];
}

function jobEnvironment(env: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !NOT_THE_JOBS.test(name)));
}

/** `petask 1.n2` for a slave task (its spool is a directory inside the job's), `interactive` for a qrsh command. */
function qrshName(env: Readonly<Record<string, string>>, spoolDir: string): string {
  return env.JOB_NAME === 'petask' || /\/\d+\.\d+\/[^/]+$/.test(spoolDir)
    ? `petask ${basename(spoolDir)}`
    : 'interactive';
}
