import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { HookCall } from '../../../src/model/job.ts';
import type { FindAccount } from '../../../src/scheduler/gridengine/accounts.ts';
import { parseSpoolConfig, type SpoolConfig } from '../../../src/scheduler/gridengine/spool-config.ts';

interface Recorded {
  readonly verb: string;
  readonly argv: readonly string[];
  readonly uid: number;
  readonly gid: number;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly config: string;
}

/** A hook call as a real sge_execd made it, with the spool config of that moment. */
export function recorded(name: string): { readonly call: HookCall; readonly readConfig: () => SpoolConfig } {
  const { verb, argv, uid, gid, cwd, env, config } = JSON.parse(text(`${name}.json`)) as Recorded;
  const call: HookCall = {
    verb,
    args: verb === 'exec' ? ['--scheduler', 'gridengine', '--', ...argv] : ['--scheduler', 'gridengine'],
    env,
    cwd,
    uid,
    gid,
    groups: [],
    umask: 0o022,
    rlimits: [],
    cpus: [0],
    pid: 1,
    nice: 0,
    stdio: [],
    terminal: undefined,
    termios: undefined,
    session: undefined,
  };
  return { call, readConfig: () => parseSpoolConfig(config) };
}

export function text(file: string): string {
  return readFileSync(join(import.meta.dirname, 'fixtures', file), 'utf8');
}

export const findAccount: FindAccount = (asked) => {
  if (asked !== 'alice' && asked !== '1001') throw new Error(`no account ${asked}`);
  return { name: 'alice', uid: 1001, gid: 1002, home: '/home/alice', shell: '/bin/bash' };
};
