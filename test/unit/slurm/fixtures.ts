import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { HookCall } from '../../../src/model/job.ts';

/** A hook call recorded from slurmd 22.05.8 (fixtures/NAME.json), as the hook server would hand it on. */
export function recorded(name: string, changes: Record<string, string | undefined> = {}): HookCall {
  const file = JSON.parse(readFileSync(join(import.meta.dirname, 'fixtures', `${name}.json`), 'utf8'));
  const env = Object.fromEntries(
    Object.entries({ ...file.env, ...changes }).filter(([, value]) => value !== undefined),
  ) as Record<string, string>;
  return {
    verb: file.verb,
    args: file.args,
    env,
    cwd: file.cwd,
    uid: file.uid,
    gid: file.gid,
    groups: [],
    umask: 0o022,
    rlimits: [],
    cpus: [],
    pid: 100,
    nice: 0,
    stdio: [],
    terminal: undefined,
    termios: undefined,
    session: undefined,
  };
}

/** What scontrol printed (fixtures/NAME.txt). */
export function printed(name: string): string {
  return readFileSync(join(import.meta.dirname, 'fixtures', `${name}.txt`), 'utf8');
}
