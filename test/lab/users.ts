import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';

import type { Lab } from './host.ts';
import { labPaths, qemuAccount, storeAccount } from './layout.ts';

/** A second group of alice, so that supplementary groups show in tests. */
const projectGroup = 'labproj';

interface Account {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Makes the lab's accounts where they are missing: users alice and bob, the service account of the store and QEMU's.
 * They stay when the lab goes down, as accounts of a site do.
 */
export async function ensureUsers(): Promise<Lab['users']> {
  const groups = await names('/etc/group');
  const accounts = await names('/etc/passwd');
  // One after the other: useradd locks the account files.
  if (!groups.has(projectGroup)) await run('groupadd', projectGroup);
  for (const name of ['alice', 'bob']) {
    const home = join(labPaths.home, name);
    const more = name === 'alice' ? ['-G', projectGroup] : [];
    const groupChoice = groups.has(name) ? ['-g', name] : ['-U'];
    if (!accounts.has(name))
      await run('useradd', '-M', '-d', home, '-s', '/bin/bash', ...groupChoice, ...more, name);
  }
  // '*' as password: sshd refuses an account that is locked ('!').
  if (!accounts.has(storeAccount))
    await run(
      'useradd',
      '-r',
      '-U',
      '-M',
      '-d',
      '/nonexistent',
      '-s',
      '/usr/sbin/nologin',
      '-p',
      '*',
      storeAccount,
    );
  if (!accounts.has(qemuAccount.name)) await ensureQemuAccount(groups);

  const made = await names('/etc/passwd');
  return ['alice', 'bob'].map((name) => {
    const { uid, gid } = made.get(name) as Account;
    return { name, uid, gid, home: join(labPaths.home, name) };
  });
}

async function ensureQemuAccount(groups: ReadonlyMap<string, Account>): Promise<void> {
  const { name, uid } = qemuAccount;
  if (!groups.has('kvm')) await run('groupadd', '-r', 'kvm');
  if (!groups.has(name)) await run('groupadd', '-g', String(uid), name);
  const shell = ['-M', '-d', '/var/lib/libvirt', '-s', '/usr/sbin/nologin'];
  await run('useradd', '-u', String(uid), '-g', 'kvm', '-G', name, ...shell, name);
}

async function names(file: string): Promise<Map<string, Account>> {
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => {
      const [name = '', , uid, gid] = line.split(':');
      return [name, { uid: Number(uid), gid: Number(gid) }];
    }),
  );
}

async function run(file: string, ...args: string[]): Promise<void> {
  await execa(file, args, { timeout: 20_000, stdin: 'ignore' });
}

/** uid and gid of an account that ensureUsers made, or undefined. */
export async function accountOf(name: string): Promise<Account | undefined> {
  return (await names('/etc/passwd')).get(name);
}
