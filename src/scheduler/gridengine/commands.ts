import { join } from 'node:path';

import { execa } from 'execa';

import { SchedulerUnavailable } from '../scheduler.ts';

/** Runs one of Grid Engine's commands; never through a shell. */
export type RunCommand = (argv: readonly string[], signal: AbortSignal) => Promise<string>;

/** A command that the qmaster does not answer waits for minutes by itself. */
const COMMAND_TIMEOUT_MS = 20_000;

/** RunCommand with the cell's environment. Rejects with SchedulerUnavailable, whose message has the command and what it printed. */
export function createRunCommand(binDir: string, environment: Readonly<Record<string, string>>): RunCommand {
  return async (argv, signal) => {
    const [program = '', ...args] = argv;
    const result = await execa(join(binDir, program), args, {
      env: { PATH: '/usr/bin:/bin', ...environment },
      extendEnv: false,
      stdin: 'ignore',
      all: true,
      reject: false,
      timeout: COMMAND_TIMEOUT_MS,
      cancelSignal: signal,
      maxBuffer: 32 * 1024 * 1024,
    });
    if (result.failed)
      throw new SchedulerUnavailable(
        `${argv.join(' ')} failed: ${result.all?.trim() || result.shortMessage}`,
      );
    return result.stdout;
  };
}
