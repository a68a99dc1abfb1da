import { join } from 'node:path';

import type { Lab } from '../host.ts';
import { type Cluster, etcSlurm, mungeSocket, slurmdSpool } from './cluster.ts';

export const clusterName = 'caddis';
/** What a node of the lab claims to have (config_overrides): more than this machine has, so that several jobs fit at once. */
const NODE = { cpus: 4, memoryMb: 6000, scratchMb: 20_000 } as const;
/**
 * Two daemons of one kind never share a port, so that the cluster also comes up in one network namespace.
 * slurmd registers its port by its NodeName line.
 */
const PORTS = { slurmctld: 6817, slurmdbd: 6819, firstSlurmd: 6820 } as const;

/**
 * slurm.conf of the lab; our own lines are those of hooks/slurm/slurm.conf, `ours`, and `scavenge`, those of the scavenge partition, which where there is one slurmd only name the
 * nodes and the partition `main` too.
 */
export function slurmConf(
  lab: Lab,
  cluster: Cluster,
  { ours, scavenge }: { ours: string; scavenge: string },
): string {
  const log = (host: string, daemon: string) => join(lab.paths.logs, `${host}-${daemon}.log`);
  const nodes = lab.nodes.map(
    ({ name, address }, index) =>
      `NodeName=${name} NodeAddr=${address} Port=${PORTS.firstSlurmd + index} CPUs=${NODE.cpus} RealMemory=${NODE.memoryMb} TmpDisk=${NODE.scratchMb} Gres=gpu:1,slackmem:0 State=UNKNOWN`,
  );
  const isSplit = cluster.scavenge === 'one-slurmd';
  const all = lab.nodes.map(({ name }) => name).join(',');
  return `# Written by the lab.
ClusterName=${clusterName}
SlurmctldHost=${lab.head.name}(${lab.head.address})
SlurmctldPort=${PORTS.slurmctld}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its last credential has expired: 10 s, not 120.
AuthInfo=socket=${mungeSocket(cluster)},cred_expire=10
SlurmUser=root
SlurmdUser=root
StateSaveLocation=${cluster.state}
SlurmdSpoolDir=${slurmdSpool}/%n
SlurmctldPidFile=${join(cluster.dir, 'slurmctld.pid')}
SlurmdPidFile=${join(cluster.dir, 'slurmd.%n.pid')}
SlurmctldLogFile=${log(lab.head.name, 'slurmctld')}
SlurmdLogFile=${log('%n', 'slurmd')}
SlurmctldDebug=verbose
SlurmdDebug=verbose
LogTimeFormat=iso8601_ms
# linuxproc: a node of the lab has no cgroup of its own for slurmd that the lab could not clean up after a crash.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldTimeout=120
SlurmdTimeout=60
# An emulated machine may take seconds to boot and to grow; neither is a lost message or a lost job.
MessageTimeout=30
BatchStartTimeout=120
KillWait=4
MinJobAge=600
Waittime=0
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,batch_sched_delay=0,sched_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# Partitions of a higher tier take nodes from those of a lower one; main and native are equals.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=${lab.head.address}
AccountingStoragePort=${PORTS.slurmdbd}
AccountingStoragePass=${mungeSocket(cluster)}
AccountingStoreFlags=job_comment
JobRequeue=1
GresTypes=gpu,slackmem
${cluster.withCaddis ? 'JobSubmitPlugins=lua\n' : ''}LaunchParameters=use_interactive_step
${isSplit ? '' : nodes.join('\n')}
PartitionName=DEFAULT State=UP DefMemPerCPU=256 MaxTime=INFINITE
${isSplit ? '' : `PartitionName=main Nodes=${all} Default=YES`}
${scavenge}
# For comparisons: the same nodes, and caddisd leaves its jobs alone (policy.native in the lab's caddis.toml).
PartitionName=native Nodes=${all}${isSplit ? ` MaxCPUsPerNode=${NODE.cpus}` : ''}
${cluster.withCaddis ? ours : `PrologFlags=Alloc\nPlugStackConfig=${etcSlurm}/plugstack.conf`}
`;
}

export function slurmdbdConf(lab: Lab, cluster: Cluster): string {
  return `# Written by the lab.
AuthType=auth/munge
AuthInfo=socket=${mungeSocket(cluster)}
DbdHost=${lab.head.name}
DbdAddr=${lab.head.address}
DbdPort=${PORTS.slurmdbd}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
LogFile=${join(lab.paths.logs, `${lab.head.name}-slurmdbd.log`)}
PidFile=${join(cluster.dir, 'slurmdbd.pid')}
`;
}
