import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Lab } from '../host.ts';
import { on } from '../process.ts';
import type { Cell } from './cell.ts';
import { freshDirectory, ourComplexes, queueAttributes } from './files.ts';
import * as objects from './objects.ts';

const SHIPPED = '/usr/share/gridengine';
/** Memory that each node offers for machines. */
const NODE_MEMORY = '8G';

/** A new cell as `spoolinit` leaves it: no hosts, no queues. The qmaster can start on it. */
export async function spoolCell(lab: Lab, cell: Cell): Promise<void> {
  await freshDirectory(cell.root);
  await freshDirectory(cell.spool);
  await Promise.all(
    [cell.common, join(cell.qmasterSpool, 'job_scripts'), cell.database, cell.execdSpool].map((path) =>
      mkdir(path, { recursive: true }),
    ),
  );
  for (const name of ['bin', 'utilbin', 'lib', 'util'])
    await symlink(join('/var/lib/gridengine', name), join(cell.root, name));
  await writeFile(join(cell.common, 'bootstrap'), objects.bootstrap(cell));
  await writeFile(join(cell.common, 'act_qmaster'), `${lab.head.name}\n`);
  await writeFile(join(cell.common, 'cluster_name'), `${cell.environment.SGE_CLUSTER_NAME}\n`);
  const base = join(cell.dir, 'configuration');
  await writeFile(
    base,
    objects.globalConfiguration(cell, await readFile(`${SHIPPED}/default-configuration`, 'utf8')),
  );
  const asAdmin = ['setpriv', '--reuid', 'sgeadmin', '--regid', 'sgeadmin', '--clear-groups'];
  const script = `
set -e; p=/usr/lib/gridengine
$p/spoolinit berkeleydb libspoolb ${cell.database} init
$p/spooldefaults configuration ${base}
$p/spooldefaults complexes ${SHIPPED}/util/resources/centry
$p/spooldefaults usersets ${SHIPPED}/util/resources/usersets
$p/spooldefaults managers sgeadmin
$p/spooldefaults managers root`;
  await on(lab.head, ['chown', '-R', 'sgeadmin:sgeadmin', join(cell.common, '..'), cell.spool]);
  await on(lab.head, [...asAdmin, 'sh', '-c', script], { env: { ...cell.environment } });
}

/** Hosts, queues, parallel environments, complexes and the scheduler's configuration, through qconf; the qmaster runs. */
export async function configureCell(lab: Lab, cell: Cell): Promise<void> {
  const env = { ...cell.environment };
  const directory = join(cell.dir, 'objects');
  await freshDirectory(directory);
  const file = async (name: string, text: string) => {
    await writeFile(join(directory, name), text);
    return join(directory, name);
  };
  const qconf = (...args: string[]) => on(lab.head, ['qconf', ...args], { env });

  const complexes = `${await qconf('-sc')}\n${await ourComplexes()}\n${objects.GPU_COMPLEX}`;
  const scheduler = objects.schedulerConfiguration(await qconf('-ssconf'));
  const hosts = [lab.head, ...lab.nodes].map(({ name }) => name).join(',');
  await qconf('-Mc', await file('complexes', complexes));
  await qconf('-ah', hosts);
  await qconf('-as', hosts);
  await qconf('-Msconf', await file('scheduler', scheduler));
  for (const { name } of lab.nodes) await qconf('-Ae', await file(name, objects.execHost(name, NODE_MEMORY)));
  for (const [index, { name }] of lab.nodes.entries())
    await qconf('-Aconf', await file(name, objects.hostConfiguration(index)));
  await qconf('-Ahgrp', await file('allhosts', objects.hostGroup(lab)));
  for (const name of ['mpi', 'smp'] as const)
    await qconf('-Ap', await file(name, objects.parallelEnvironment(name)));
  for (const name of ['caddis', 'caddis-move']) await qconf('-Ackpt', join(cell.hooks, `${name}.ckpt`));
  for (const name of ['all.q', 'move.q', 'native.q'])
    await qconf('-Aq', await file(name, objects.queue(name)));
  await qconf('-Aq', join(cell.hooks, 'scavenge.q'));
  // As an installation does it: our attributes onto a queue that the site has.
  for (const name of ['all.q', 'move.q'])
    await qconf('-Mattr', 'queue', await file('attributes', await queueAttributes(cell)), name);
}
