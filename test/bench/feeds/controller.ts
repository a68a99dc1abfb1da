import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { startDaemon, stopDaemon, untilReady } from '../../lab/daemons.ts';
import type { Lab } from '../../lab/host.ts';
import { on } from '../../lab/process.ts';
import { clusterOf, mungeSocket } from '../../lab/slurm/cluster.ts';

const PORT = 16_817;
const NAME = 'slurmctld-feeds';
/** Names of the simulated nodes: `f00001` and on. */
export const DIGITS = 5;

/** A slurmctld of its own on the lab's head, with so many nodes that have no slurmd, beside the lab's; it shares the lab's munged. */
export interface Controller {
  /** SLURM_CONF for its clients. */
  readonly conf: string;
  stop(): Promise<void>;
}

export async function startController(lab: Lab, nodes: number): Promise<Controller> {
  const dir = join(lab.paths.root, 'feeds');
  const state = join(dir, 'state');
  await rm(dir, { recursive: true, force: true });
  await mkdir(state, { recursive: true });
  await chmod(dir, 0o755);
  const conf = join(dir, 'slurm.conf');
  await writeFile(conf, text(lab, nodes, dir, state));
  await writeFile(join(dir, 'gres.conf'), 'Name=slackmem Count=0 Flags=CountOnly\n');
  const bare = ['env', '-i', '-C', '/', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', `SLURM_CONF=${conf}`];
  await startDaemon(lab.head, NAME, [...bare, 'slurmctld', '-D', '-c', '-f', conf]);
  await untilReady(lab.head, NAME, async () => {
    await on(lab.head, ['env', `SLURM_CONF=${conf}`, 'scontrol', 'ping'], { timeoutMs: 5_000 });
    return true;
  });
  return {
    conf,
    async stop() {
      await stopDaemon(lab.head.name, NAME);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function text(lab: Lab, nodes: number, dir: string, state: string): string {
  const all = `f[${'1'.padStart(DIGITS, '0')}-${String(nodes).padStart(DIGITS, '0')}]`;
  return `ClusterName=feeds
SlurmctldHost=${lab.head.name}(${lab.head.address})
SlurmctldPort=${PORT}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=${mungeSocket(clusterOf(lab))}
SlurmUser=root
SlurmdUser=root
StateSaveLocation=${state}
SlurmctldPidFile=${join(dir, 'slurmctld.pid')}
SlurmctldLogFile=${join(lab.paths.logs, `${lab.head.name}-slurmctld-feeds.log`)}
SlurmctldDebug=info
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
# Nobody answers for these nodes, and nobody asks.
SlurmdTimeout=0
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=slackmem
NodeName=${all} NodeAddr=127.0.0.1 Port=16818 CPUs=64 RealMemory=256000 Gres=slackmem:0 State=DOWN Reason=bench
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`;
}
