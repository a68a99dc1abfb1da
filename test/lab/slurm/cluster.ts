import { join } from 'node:path';

import type { Lab } from '../host.ts';

/** Where the lab's Slurm keeps its files. */
export interface Cluster {
  readonly dir: string;
  /** Bound over /etc/slurm on every host, so that daemons and clients need no SLURM_CONF. */
  readonly etc: string;
  readonly munge: string;
  readonly state: string;
  readonly database: string;
  /** The database as it was after its first set-up, copied at every start. */
  readonly template: string;
  /** Our hooks, as an installation has them in /usr/lib/caddis/slurm. */
  readonly hooks: string;
  /** False: no hooks and no plugin, for native baselines (CADDIS_LAB_NATIVE=1). */
  readonly withCaddis: boolean;
  /** How the scavenge partition is made: a shadow node with a second slurmd on each host, or one slurmd (CADDIS_LAB_SCAVENGE=one-slurmd). */
  readonly scavenge: 'shadow' | 'one-slurmd';
}

/** NodeName of a host's shadow node; as in hooks/slurm/scavenge.conf. */
export function shadowOf(host: string): string {
  return `${host}s`;
}

/** Slurm's own defaults: nodes have /var/spool and /etc/slurm for themselves, so the lab needs no other paths. */
export const slurmdSpool = '/var/spool/slurmd';
export const etcSlurm = '/etc/slurm';

/** The layout under the lab's root. */
export function clusterOf(lab: Lab): Cluster {
  const dir = join(lab.paths.root, 'slurm');
  return {
    dir,
    etc: join(dir, 'etc'),
    munge: join(dir, 'munge'),
    state: join(dir, 'state'),
    database: join(dir, 'database'),
    template: join(dir, 'database-template'),
    hooks: join(dir, 'hooks'),
    withCaddis: process.env.CADDIS_LAB_NATIVE !== '1',
    scavenge: process.env.CADDIS_LAB_SCAVENGE === 'one-slurmd' ? 'one-slurmd' : 'shadow',
  };
}

export function mungeSocket(cluster: Cluster): string {
  return join(cluster.munge, 'munge.sock');
}

export function databaseSocket(cluster: Cluster): string {
  return join(cluster.dir, 'mysqld.sock');
}
