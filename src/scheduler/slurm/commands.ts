import { join } from 'node:path';

import { execa } from 'execa';

import { SchedulerUnavailable } from '../scheduler.ts';

/** Runs one of Slurm's commands and gives its stdout; never through a shell. */
export type RunCommand = (argv: readonly string[], signal: AbortSignal) => Promise<string>;

/** What keeping a job from starting here takes. */
export interface Refusing {
  /** caddisd's own directory, where the job's steps find the reason. */
  readonly runDir: string;
  /** NodeNames of this host. */
  readonly here: readonly string[];
  readonly run: RunCommand;
  readonly signal: AbortSignal;
}

/** scontrol itself tries a controller that is away for MessageTimeout (10 s by default) and more. */
const COMMAND_TIMEOUT_MS = 20_000;

/** Slurm answered, and said no. */
export class SlurmRefused extends Error {
  override name = 'SlurmRefused';
}

/**
 * RunCommand with the site's environment (SLURM_CONF). Rejects with SlurmRefused when the controller said no, else with SchedulerUnavailable; the message has
 * the command and what it printed.
 */
export function createRunCommand(binDir: string, environment: Readonly<Record<string, string>>): RunCommand {
  return async (argv, signal) => {
    const [program = '', ...args] = argv;
    const result = await execa(join(binDir, program), args, {
      env: { PATH: '/usr/bin:/bin', ...environment },
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
      timeout: COMMAND_TIMEOUT_MS,
      cancelSignal: signal,
      maxBuffer: 32 * 1024 * 1024,
    });
    if (!result.failed) return result.stdout;
    const said = (result.stderr || result.stdout || result.shortMessage || 'no message').trim();
    const message = `${argv.join(' ')} failed: ${said}`;
    const answered = result.exitCode !== undefined && !/contact|communication|timed out|connect/i.test(said);
    throw answered ? new SlurmRefused(message) : new SchedulerUnavailable(message);
  };
}
