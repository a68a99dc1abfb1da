import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { daemonLog, startDaemon, untilReady } from './daemons.ts';
import type { Lab, LabHost } from './host.ts';
import { labPaths, storeAccount } from './layout.ts';
import { on } from './process.ts';
import { accountOf } from './users.ts';

/** Makes the users' home directories: on a site, an NFS directory that every host has mounted; here the same directory. */
export async function makeHomes(users: Lab['users']): Promise<void> {
  await mkdir(labPaths.home, { recursive: true });
  for (const { home, uid, gid } of users) {
    await mkdir(home, { recursive: true });
    await chown(home, uid, gid);
    await chmod(home, 0o700);
  }
}

/** Where a store on NFS is: on a site, one more export of its file server. */
export const nfsStore = join(labPaths.root, 'nfs-store');

/** Empties that store and gives it to the service account, as an admin would. Its directory of checkpoints lies below the mount point. */
export async function freshNfsStore({ uid, gid }: { uid: number; gid: number }): Promise<void> {
  await rm(join(nfsStore, 'caddis'), { recursive: true, force: true });
  for (const path of [
    '.',
    'caddis',
    'caddis/barriers',
    'caddis/shared',
    'caddis/shared/jobs',
    'caddis/shared/nodes',
  ]) {
    await mkdir(join(nfsStore, path), { recursive: true, mode: 0o700 });
    await chown(join(nfsStore, path), uid, gid);
  }
}

/** Exports the homes over NFSv4 from the head, under their own path, with root squashed; ready when the port answers. */
export async function startGanesha(head: LabHost): Promise<void> {
  const state = join(labPaths.root, 'ganesha');
  // A new lab has no clients to wait for: no recovery directory, no grace period.
  await rm(state, { recursive: true, force: true });
  await mkdir(join(state, 'recovery'), { recursive: true });
  const service = await accountOf(storeAccount);
  if (!service) throw new Error(`no account "${storeAccount}": users.ts should have made it`);
  await freshNfsStore(service);
  const config = join(state, 'ganesha.conf');
  await writeFile(config, ganeshaConf(head, join(state, 'recovery'), service));
  const log = daemonLog(head.name, 'ganesha');
  const argv = ['ganesha.nfsd', '-F', '-L', log, '-f', config, '-p', join(state, 'ganesha.pid')];
  await startDaemon(head, 'ganesha', argv);
  const listens = async () => (await on(head, ['ss', '-Hltn', 'sport', '=', ':2049'])) !== '';
  await untilReady(head, 'ganesha', listens);
}

/**
 * A short lease, so that tests of freezes longer than it are short; what moves jobs on a loaded machine asks for a usual one (CADDIS_LAB_NFS_LEASE, in seconds).
 * CADDIS_LAB_GANESHA_LOG: what its log shall have beside events, as `COMPONENTS { SESSIONS = FULL_DEBUG; }`.
 * Plugins_Dir: a wrong one means no exports and no error (facts/vm.md).
 */
function ganeshaConf(head: LabHost, recovery: string, service: { uid: number; gid: number }): string {
  return `NFS_CORE_PARAM {
  Protocols = 4;
  NFS_Port = 2049;
  Enable_NLM = false;
  Enable_RQUOTA = false;
  Bind_addr = ${head.address};
  Plugins_Dir = /usr/lib/x86_64-linux-gnu/ganesha;
}
NFSV4 {
  Graceless = true;
  Lease_Lifetime = ${process.env.CADDIS_LAB_NFS_LEASE ?? 20};
  RecoveryBackend = fs;
  RecoveryRoot = ${recovery};
  Only_Numeric_Owners = true;
  Minor_Versions = 1, 2;
}
# Hosts write beside it: a listing that it has cached can name a file that they removed, and the whole directory was stale for the client then.
MDCACHE { Dir_Chunk = 0; }
EXPORT_DEFAULTS {
  SecType = sys;
  Access_Type = RW;
  Squash = Root_Squash;
  Transports = TCP;
  Protocols = 4;
}
EXPORT {
  Export_Id = 1;
  Path = ${labPaths.home};
  Pseudo = ${labPaths.home};
  FSAL { Name = VFS; }
}
# For checkpoints: root of every node is squashed to the service account.
EXPORT {
  Export_Id = 2;
  Path = ${nfsStore};
  Pseudo = ${nfsStore};
  Squash = Root_Squash;
  Anonymous_uid = ${service.uid};
  Anonymous_gid = ${service.gid};
  FSAL { Name = VFS; }
}
LOG { Default_Log_Level = EVENT; ${process.env.CADDIS_LAB_GANESHA_LOG ?? ''} }
`;
}
