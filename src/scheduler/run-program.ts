import { join } from 'node:path';

import { execa } from 'execa';

/** Runs one of a scheduler's commands and gives its stdout; never through a shell. */
export type RunCommand = (argv: readonly string[], signal: AbortSignal) => Promise<string>;

/** A command that its controller does not answer tries again by itself, for minutes. */
const COMMAND_TIMEOUT_MS = 20_000;

/** What became of one command, with the site's environment alone; it does not reject. `all`: what it printed, in the order in which it did. */
export async function runProgram(
  binDir: string,
  environment: Readonly<Record<string, string>>,
  [program = '', ...args]: readonly string[],
  signal: AbortSignal,
) {
  return execa(join(binDir, program), args, {
    env: { PATH: '/usr/bin:/bin', ...environment },
    extendEnv: false,
    stdin: 'ignore',
    all: true,
    reject: false,
    timeout: COMMAND_TIMEOUT_MS,
    cancelSignal: signal,
    maxBuffer: 32 * 1024 * 1024,
  });
}
