import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

import { asUser } from '../integration/support/batch.ts';
import { hookClient } from '../lab/caddisd.ts';
import type { Lab } from '../lab/host.ts';
import { shellCommand } from '../lab/shell.ts';

/** Runs a bash script on a lab host and returns its stdout; rejects with its stderr if it fails. */
export async function bash(
  lab: Lab,
  of: {
    host: string;
    script: string;
    user?: string;
    environment?: Record<string, string>;
    timeoutMs?: number;
  },
): Promise<string> {
  const { host, script, user = 'alice', environment = {}, timeoutMs = 110_000 } = of;
  const { stdout, stderr, exitCode } = await asUser(lab, ['bash', '-c', script], {
    host,
    user,
    cwd: '/tmp',
    environment,
    timeoutMs,
  });
  if (exitCode !== 0)
    throw new Error(`on ${host}, as ${user}: exit ${exitCode}: ${stderr || stdout}\n${script}`);
  return stdout;
}

/** Starts a command on a lab host; stdin and stdout are pipes. The caller ends it. */
export async function startOnNode(
  lab: Lab,
  of: { host: string; command: readonly string[]; user: string },
): Promise<ChildProcess> {
  const [file, ...args] = await shellCommand(lab, of);
  return spawn(file as string, args, { stdio: ['pipe', 'pipe', 'ignore'] });
}

/** The environment in which `caddis-hook exec` belongs to a Slurm job, as the SPANK plugin leaves it. The step's name is no real step's. */
function stepEnvironment(jobId: string): Record<string, string> {
  return { CADDIS_KEY: `slurm-${jobId}`, SLURM_JOB_ID: jobId, SLURM_STEP_ID: '9999' };
}

/** argv of a command through caddis-hook in a job's machine. */
export function throughHook(jobId: string, command: readonly string[]): string[] {
  const assignments = Object.entries(stepEnvironment(jobId)).map(([name, value]) => `${name}=${value}`);
  return ['env', ...assignments, hookClient, 'exec', '--', ...command];
}

/** Pids of the caddis-hooks whose command line holds this word. */
export function hooksWith(word: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return (
          readlinkSync(`/proc/${pid}/exe`) === hookClient &&
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(word)
        );
      } catch {
        return false;
      }
    });
}

/** Private memory of a process in KiB (smaps_rollup), undefined if it is gone. */
export function privateKib(pid: number): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    return [...text.matchAll(/^Private_\w+:\s+(\d+) kB/gm)].reduce((sum, [, kib]) => sum + Number(kib), 0);
  } catch {
    return undefined;
  }
}
