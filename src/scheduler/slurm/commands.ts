import { type RunCommand, runProgram } from '../run-program.ts';
import { SchedulerUnavailable } from '../scheduler.ts';

/** What keeping a job from starting here takes. */
export interface Refusing {
  /** caddisd's own directory, where the job's steps find the reason. */
  readonly runDir: string;
  /** NodeNames of this host. */
  readonly here: readonly string[];
  readonly run: RunCommand;
  readonly signal: AbortSignal;
}

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
    const result = await runProgram(binDir, environment, argv, signal);
    if (!result.failed) return result.stdout;
    const said = (result.stderr || result.stdout || result.shortMessage || 'no message').trim();
    const message = `${argv.join(' ')} failed: ${said}`;
    const answered = result.exitCode !== undefined && !/contact|communication|timed out|connect/i.test(said);
    throw answered ? new SlurmRefused(message) : new SchedulerUnavailable(message);
  };
}
