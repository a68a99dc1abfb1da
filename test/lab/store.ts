import { existsSync } from 'node:fs';
import { chmod, chown, copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';

import { startDaemon, untilReady } from './daemons.ts';
import type { LabHost } from './host.ts';
import { labPaths, storeAccount } from './layout.ts';
import { on } from './process.ts';
import { accountOf } from './users.ts';

const directory = join(labPaths.root, 'ssh');

/**
 * The shared store: a directory on the head, owned by the service account, that each node reaches by sshfs over its
 * own veth, so that a cut of the network cuts it (the machine's kernel has no NFS client). As on an NFS that squashes
 * root, whatever root writes from a node belongs to the service account.
 */
export async function startStore(head: LabHost, nodes: readonly LabHost[]): Promise<void> {
  const account = await accountOf(storeAccount);
  if (!account) throw new Error(`no account "${storeAccount}": users.ts should have made it`);
  // Job ids begin at 1 with every lab: what an earlier one has saved is of other jobs.
  for (const name of await readdir(labPaths.store)) await rm(join(labPaths.store, name), { recursive: true });
  await chown(labPaths.store, account.uid, account.gid);
  await chmod(labPaths.store, 0o700);
  await makeKeys(head);
  // The privilege separation directory: sshd refuses to start without it.
  await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  await startDaemon(head, 'sshd', ['/usr/sbin/sshd', '-D', '-e', '-f', join(directory, 'sshd_config')]);
  const listens = async () => (await on(head, ['ss', '-Hltn', 'sport', '=', ':22'])) !== '';
  await untilReady(head, 'sshd', listens);
  await Promise.all(nodes.map((node) => mountStore(head, node)));
}

async function mountStore(head: LabHost, node: LabHost): Promise<void> {
  const options = [
    'reconnect',
    'ServerAliveInterval=3',
    'ServerAliveCountMax=3',
    `IdentityFile=${join(directory, 'client')}`,
    `UserKnownHostsFile=${join(directory, 'known_hosts')}`,
    'StrictHostKeyChecking=yes',
    'BatchMode=yes',
    // Permissions are checked here by the owner's numbers: root and the service account may, users may not.
    'allow_other',
    'default_permissions',
    // Claims are read back after they were made: no cached directories or attributes.
    'dir_cache=no',
    'attr_timeout=0',
    'entry_timeout=0',
    'negative_timeout=0',
  ];
  const remote = `${storeAccount}@${head.address}:${labPaths.store}`;
  const argv = ['sshfs', '-f', '-F', '/dev/null', '-o', options.join(','), remote, labPaths.store];
  await startDaemon(node, 'sshfs', argv);
  const mounted = async () => (await on(node, ['stat', '-f', '-c', '%T', labPaths.store])).includes('fuse');
  await untilReady(node, 'sshfs', mounted);
}

async function makeKeys(head: LabHost): Promise<void> {
  // Readable by all but for the private keys: sshd opens authorized_keys as the account.
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const keys = ['host', 'client'].map(async (name) => {
    const file = join(directory, name);
    if (!existsSync(file))
      await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', file]);
  });
  await Promise.all(keys);
  const hostKey = await readFile(join(directory, 'host.pub'), 'utf8');
  await writeFile(join(directory, 'known_hosts'), `${head.address} ${hostKey}`);
  await copyFile(join(directory, 'client.pub'), join(directory, 'authorized_keys'));
  await writeFile(
    join(directory, 'sshd_config'),
    `Port 22
ListenAddress ${head.address}
HostKey ${join(directory, 'host')}
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers ${storeAccount}
AuthorizedKeysFile ${join(directory, 'authorized_keys')}
Subsystem sftp internal-sftp
ForceCommand internal-sftp
ClientAliveInterval 3
ClientAliveCountMax 3
`,
  );
}
