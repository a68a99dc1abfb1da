import { join } from 'node:path';

import { startDaemon, stopDaemon, untilReady } from '../daemons.ts';
import type { Lab, LabHost } from '../host.ts';
import { on, until } from '../process.ts';
import { type Cluster, databaseSocket, mungeSocket, shadowOf } from './cluster.ts';
import { clusterName } from './config.ts';
import { databaseDaemon } from './database.ts';

/** Daemons pass their environment on to hooks and steps: nothing but what a boot script would give them. */
const BARE = [
  'env',
  '-i',
  '-C',
  '/',
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  'LANG=C.UTF-8',
];

/** One munged serves all hosts: its socket is a path, and they share the file system. */
export async function startMunged(lab: Lab, cluster: Cluster): Promise<void> {
  const at = (name: string) => join(cluster.munge, name);
  await startDaemon(lab.head, 'munged', [
    ...['setpriv', '--reuid=munge', '--regid=munge', '--clear-groups'],
    ...['munged', '--foreground', '--force', `--key-file=${at('munge.key')}`],
    ...[`--socket=${mungeSocket(cluster)}`, `--pid-file=${at('munged.pid')}`],
    ...[`--log-file=${at('munged.log')}`, `--seed-file=${at('munged.seed')}`],
  ]);
  await untilReady(lab.head, 'munged', async () => {
    await on(lab.head, ['munge', '-n', '-S', mungeSocket(cluster)], { timeoutMs: 5_000 });
    return true;
  });
}

/** Ready when it answers a query. The database's socket has no setting in slurmdbd.conf: MariaDB's client library takes it from the environment. */
export async function startSlurmdbd(lab: Lab, cluster: Cluster): Promise<void> {
  const environment = `MYSQL_UNIX_PORT=${databaseSocket(cluster)}`;
  await startDaemon(lab.head, 'slurmdbd', [...BARE, environment, 'slurmdbd', '-D']);
  await untilReady(lab.head, 'slurmdbd', async () => {
    await on(lab.head, ['sacctmgr', '-n', 'list', 'cluster'], { timeoutMs: 5_000 });
    return true;
  });
}

/** The cluster, one account and the lab's users, as a site's accounting has them. */
export async function fillAccounting(lab: Lab): Promise<void> {
  const add = async (...words: string[]) => await on(lab.head, ['sacctmgr', '-i', 'add', ...words]);
  await add('cluster', clusterName);
  await add('account', 'lab', `cluster=${clusterName}`);
  for (const { name } of lab.users) await add('user', name, 'account=lab');
}

export async function startSlurmctld(lab: Lab): Promise<void> {
  await startDaemon(lab.head, 'slurmctld', [...BARE, 'slurmctld', '-D']);
  await untilReady(lab.head, 'slurmctld', async () => {
    await on(lab.head, ['scontrol', 'ping'], { timeoutMs: 5_000 });
    return true;
  });
}

/** slurmd on one node; usable when the controller shows the node as idle (waitForNodes). */
export async function startSlurmd(cluster: Cluster, node: LabHost): Promise<void> {
  await startDaemon(node, 'slurmd', [...BARE, 'slurmd', '-D', '-N', node.name]);
  if (hasShadows(cluster))
    await startDaemon(node, 'slurmd-scavenge', [...BARE, 'slurmd', '-D', '-N', shadowOf(node.name)]);
}

function hasShadows({ withCaddis, scavenge }: Cluster): boolean {
  return withCaddis && scavenge === 'shadow';
}

export async function waitForNodes(lab: Lab, cluster: Cluster): Promise<void> {
  const names = lab.nodes.flatMap(({ name }) => (hasShadows(cluster) ? [name, shadowOf(name)] : [name]));
  await until(`all nodes to be idle (see ${lab.paths.logs}/*-slurmd.log)`, async () => {
    const idle = await on(lab.head, ['sinfo', '-h', '-N', '-t', 'idle', '-o', '%N']);
    const up = new Set(idle.split('\n'));
    return names.every((name) => up.has(name));
  });
}

/** Ends all daemons, those first that use others. */
export async function stopDaemons(lab: Lab): Promise<void> {
  await Promise.all(
    lab.nodes.flatMap(({ name }) => ['slurmd', 'slurmd-scavenge'].map((daemon) => stopDaemon(name, daemon))),
  );
  for (const name of ['slurmctld', 'slurmdbd', databaseDaemon, 'munged'])
    await stopDaemon(lab.head.name, name);
}
