import { execa, type Options } from 'execa';

import type { LabHost } from './host.ts';

/** Runs a command on a lab host (root unless `user`), bounded by `timeoutMs` (default 30 s). Rejects with the command's stderr in the message. */
export async function on(
  host: LabHost,
  argv: readonly string[],
  options: {
    env?: Record<string, string>;
    timeoutMs?: number;
    input?: string;
    user?: { name: string; home: string };
  } = {},
): Promise<string> {
  const { env = {}, timeoutMs = 30_000, input, user } = options;
  const asUser = user
    ? [
        'setpriv',
        '--reuid',
        user.name,
        '--regid',
        user.name,
        '--init-groups',
        'env',
        '-C',
        user.home,
        `HOME=${user.home}`,
        `USER=${user.name}`,
        `LOGNAME=${user.name}`,
        'SHELL=/bin/bash',
      ]
    : [];
  const [file, ...args] = [...host.prefix, ...asUser, ...argv];
  const settings: Options = {
    env,
    timeout: timeoutMs,
    stripFinalNewline: true,
    ...(input === undefined ? { stdin: 'ignore' } : { input }),
  };
  const result = await execa(file as string, args, settings);
  return String(result.stdout ?? '');
}

/** Polls `condition` every `everyMs` until it gives a value; after `timeoutMs` throws `what` and the last error. */
export async function until<T>(
  what: string,
  condition: () => Promise<T | undefined | false>,
  { timeoutMs = 30_000, everyMs = 50 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== undefined && value !== false) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline)
      throw new Error(`gave up after ${timeoutMs} ms waiting for ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
