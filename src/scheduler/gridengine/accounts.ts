import { execFileSync } from 'node:child_process';

import { BadHookCall } from '../scheduler.ts';

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

/** Finds an account by name or uid in the host's NSS. Throws BadHookCall if there is none. */
export type FindAccount = (nameOrUid: string) => Account;

/** NSS may be a directory server; it is asked at most this long, because the hook server waits. */
const NSS_TIMEOUT_MS = 5_000;
const KEPT_MS = 60_000;

/** FindAccount through getent(1), each answer kept for a minute: an array's tasks must not become as many directory queries. */
export function createFindAccount(): FindAccount {
  const kept = new Map<string, { readonly account: Account; readonly untilMs: number }>();
  return (nameOrUid) => {
    const known = kept.get(nameOrUid);
    if (known && performance.now() < known.untilMs) return known.account;
    const account = parsePasswd(getent(nameOrUid), nameOrUid);
    if (kept.size >= 1000) kept.clear();
    kept.set(nameOrUid, { account, untilMs: performance.now() + KEPT_MS });
    return account;
  };
}

/** A passwd(5) line. Throws BadHookCall. */
export function parsePasswd(line: string, asked: string): Account {
  const [name, , uid, gid, , home, shell] = line.trim().split(':');
  if (!name || !/^\d+$/.test(uid ?? '') || !/^\d+$/.test(gid ?? '') || home === undefined)
    throw new BadHookCall(
      `expected an account "${asked}" in this host's NSS, got "${line.trim()}": check getent passwd ${asked}`,
    );
  return { name, uid: Number(uid), gid: Number(gid), home, shell: shell || '/bin/sh' };
}

function getent(nameOrUid: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.@+\\-]*\$?$/.test(nameOrUid))
    throw new BadHookCall(`expected an account name, got "${nameOrUid}"`);
  try {
    return execFileSync('getent', ['passwd', nameOrUid], {
      timeout: NSS_TIMEOUT_MS,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    return '';
  }
}
