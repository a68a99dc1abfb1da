import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { execa } from 'execa';

import { CaddisError } from '../model/errors.ts';

/** EX_UNAVAILABLE: what caddis-hook exits with when nobody listens (docs/hooks.md). */
const UNREACHABLE = 69;
/** A checkpoint of a large machine takes minutes. */
const ANSWER_MS = 15 * 60_000;

/** The installed client, or the one that was built beside this bundle. */
export function hookClient(): string {
  if (process.env.CADDIS_HOOK) return process.env.CADDIS_HOOK;
  const built = join(dirname(fileURLToPath(import.meta.url)), '../build/caddis-hook');
  return existsSync(built) ? built : '/usr/sbin/caddis-hook';
}

/** Its socket is root's: to others it looks as if nobody listened. */
function silent(): string {
  return process.getuid?.() === 0
    ? 'caddisd does not answer on this node: is it running ("systemctl status caddisd")?'
    : 'this is for root; users have "caddis advise" and, for jobs of theirs, "caddis shell JOB"';
}

/** Asks caddisd one thing through its root socket and returns what it prints; `onLine` hears it as it comes. Throws CaddisError with its message. */
export async function askDaemon(
  verb: string,
  args: readonly string[] = [],
  {
    onLine,
    timeoutMs = ANSWER_MS,
    unreachable = silent(),
  }: { onLine?: (line: string) => void; timeoutMs?: number; unreachable?: string | undefined } = {},
): Promise<string> {
  const asking = execa(hookClient(), ['--connect-timeout', '2', verb, ...args], {
    reject: false,
    timeout: timeoutMs,
    stdin: 'ignore',
  });
  if (onLine) for await (const line of asking.iterable()) onLine(line);
  const result = await asking;
  if (result.exitCode === 0) return result.stdout;
  if (result.exitCode === UNREACHABLE) throw new CaddisError(unreachable);
  if (result.timedOut) throw new CaddisError(`caddisd has not answered "${verb}" for ${timeoutMs / 1000} s`);
  if (result.code !== undefined && result.exitCode === undefined)
    throw new CaddisError(`cannot start ${hookClient()}: ${result.originalMessage ?? result.code}`);
  throw new CaddisError(
    // Which says who speaks; so do we.
    result.stderr.trim().replace(/^caddis: /, '') ||
      `caddis-hook ${verb} ended with ${String(result.exitCode ?? result.signal)}`,
  );
}
