import type { LabScheduler } from './host.ts';
import { clusterOf } from './slurm/cluster.ts';
import {
  fillAccounting,
  startMunged,
  startSlurmctld,
  startSlurmd,
  startSlurmdbd,
  stopDaemons,
  waitForNodes,
} from './slurm/daemons.ts';
import { saveTemplate, startDatabase } from './slurm/database.ts';
import { freshState, prepareHosts, writeFiles } from './slurm/files.ts';

/**
 * Slurm 22.05 from nothing at every start: munge, MariaDB, slurmdbd and slurmctld on the head, a slurmd on each node, partitions `main`
 * (our hooks make machines), `scavenge` (in what others have reserved) and `native` (same nodes, no machines). `CADDIS_LAB_NATIVE=1` leaves our hooks and plugin out altogether.
 */
export const slurm: LabScheduler = {
  name: 'slurm',

  async start(lab) {
    const cluster = clusterOf(lab);
    await Promise.all([writeFiles(lab, cluster), freshState(lab, cluster)]);
    // First of all: without its configuration slurmdbd does not even say its version.
    await prepareHosts(lab, cluster);
    const [{ isNew }] = await Promise.all([startDatabase(lab, cluster), startMunged(lab, cluster)]);
    await startSlurmdbd(lab, cluster);
    if (isNew) {
      await fillAccounting(lab);
      await saveTemplate(lab, cluster);
    }
    await startSlurmctld(lab);
    await Promise.all(lab.nodes.map((node) => startSlurmd(cluster, node)));
    await waitForNodes(lab, cluster);
  },

  async stop(lab) {
    await stopDaemons(lab);
  },

  /** Nothing: on the lab's hosts, /etc/slurm is the cluster's. */
  environment() {
    return {};
  },
};
