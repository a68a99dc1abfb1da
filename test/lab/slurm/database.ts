import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';

import { startDaemon, stopDaemon, untilReady } from '../daemons.ts';
import type { Lab } from '../host.ts';
import { on } from '../process.ts';
import { type Cluster, databaseSocket } from './cluster.ts';

export const databaseDaemon = 'mariadbd';

/** Small and without syncs: the lab's accounting needs to outlive nothing. Both programs must agree on the log's size. */
const INNODB = ['--innodb-log-file-size=8M', '--innodb-buffer-pool-size=16M'];

/**
 * Starts MariaDB on the head with a copy of the template database; true if there is none yet: then the database is empty,
 * and the caller fills it and calls saveTemplate. 0.4 s with a template, 4 s without.
 */
export async function startDatabase(lab: Lab, cluster: Cluster): Promise<{ readonly isNew: boolean }> {
  await rm(cluster.database, { recursive: true, force: true });
  const isNew = (await readFile(keyFile(cluster), 'utf8').catch(() => '')) !== (await key(lab));
  if (isNew) await installDatabase(cluster);
  else await cp(join(cluster.template, 'data'), cluster.database, { recursive: true, mode: 0 });
  await run(lab, cluster);
  return { isNew };
}

/** Keeps the database as it is now for the next start. It is stopped meanwhile: only then are its files whole. */
export async function saveTemplate(lab: Lab, cluster: Cluster): Promise<void> {
  await stopDaemon(lab.head.name, databaseDaemon, 10_000);
  const beside = `${cluster.template}.new`;
  await rm(beside, { recursive: true, force: true });
  await cp(cluster.database, join(beside, 'data'), { recursive: true });
  await writeFile(join(beside, 'key'), await key(lab));
  await rm(cluster.template, { recursive: true, force: true });
  await rename(beside, cluster.template);
  await run(lab, cluster);
}

async function installDatabase(cluster: Cluster): Promise<void> {
  await mkdir(cluster.database, { recursive: true, mode: 0o700 });
  await execa(
    'mariadb-install-db',
    ['--no-defaults', `--datadir=${cluster.database}`, '--user=root', '--skip-test-db', ...INNODB],
    { timeout: 60_000, stdin: 'ignore' },
  );
}

async function run(lab: Lab, cluster: Cluster): Promise<void> {
  const socket = databaseSocket(cluster);
  await rm(socket, { force: true });
  await startDaemon(lab.head, databaseDaemon, [
    'mariadbd',
    '--no-defaults',
    '--user=root',
    `--datadir=${cluster.database}`,
    `--socket=${socket}`,
    `--pid-file=${join(cluster.database, 'mariadbd.pid')}`,
    '--skip-networking',
    '--performance-schema=OFF',
    '--innodb-flush-log-at-trx-commit=0',
    '--innodb-flush-method=nosync',
    ...INNODB,
  ]);
  await untilReady(lab.head, databaseDaemon, async () => {
    await on(lab.head, ['mariadb-admin', '--no-defaults', `--socket=${socket}`, 'ping'], {
      timeoutMs: 5_000,
    });
    return true;
  });
}

/** A template is good for one version of the database, one of slurmdbd (it makes the tables) and the same users. */
async function key(lab: Lab): Promise<string> {
  const versions = await Promise.all([
    on(lab.head, ['mariadbd', '--version']),
    on(lab.head, ['slurmdbd', '-V']),
  ]);
  const text = [...versions, ...lab.users.map(({ name }) => name), lab.paths.root].join('\n');
  return createHash('sha256').update(text).digest('hex');
}

function keyFile(cluster: Cluster): string {
  return join(cluster.template, 'key');
}
