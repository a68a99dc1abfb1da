import { hookClient } from '../lab/caddisd.ts';
import type { Lab, LabHost } from '../lab/host.ts';
import { on } from '../lab/process.ts';
import type { BenchOptions, Figures } from './bench.ts';
import { rounded } from './statistics.ts';

/** Resident memory that a caddisd with ten machines may have (issue 2). */
const AIM_MIB = 100;
/** No job of the lab's slurmctld gets that far; the controller says "invalid job id" and the site's defaults hold. */
const FIRST_JOB = 60_000_001;

/**
 * Resident memory of a node's caddisd before and with so many machines. A lab node has fewer CPUs than that, so the prologs are called as slurmd calls them, for jobs that
 * slurmctld does not know; a caddisd that is restarted meanwhile ends their machines.
 */
export async function daemonMemory(
  lab: Lab,
  { node, machines, say }: { node: string; machines: number; say: BenchOptions['say'] },
): Promise<Figures> {
  const host = lab.nodes.find(({ name }) => name === node);
  const alice = lab.users.find(({ name }) => name === 'alice');
  if (!host || !alice) throw new Error(`no node ${node} or no user alice in the lab`);
  const before = await status(host);
  const environment = (i: number) => ({
    SLURM_JOB_ID: String(FIRST_JOB + i),
    SLURM_JOBID: String(FIRST_JOB + i),
    SLURM_JOB_RESTART_COUNT: '0',
    SLURM_JOB_USER: alice.name,
    SLURM_JOB_UID: String(alice.uid),
    SLURM_JOB_GID: String(alice.gid),
    SLURM_JOB_PARTITION: 'main',
    SLURM_JOB_CPUS_PER_NODE: '1',
    SLURMD_NODENAME: node,
  });
  const hook = (verb: string, i: number) =>
    on(host, [hookClient, verb, 'slurm'], { env: environment(i), timeoutMs: 100_000 });
  try {
    for (let i = before.machines.length; i < machines; i++) {
      await hook('prolog', i);
      say(`${i + 1} of ${machines} machines`);
    }
    const full = await status(host);
    if (full.machines.length < machines)
      throw new Error(
        `expected ${machines} machines on ${node}, caddisd has ${full.machines.length}: see its log`,
      );
    const withMachines = full.resident_bytes / 2 ** 20;
    return {
      machines_before: before.machines.length,
      resident_before_mib: rounded(before.resident_bytes / 2 ** 20),
      machines: full.machines.length,
      resident_mib: rounded(withMachines),
      uptime_s: full.uptime_seconds,
      aim_mib: AIM_MIB,
      met: withMachines < AIM_MIB,
    };
  } finally {
    await Promise.allSettled(Array.from({ length: machines }, (_, i) => hook('epilog', i)));
    // What the epilog script removes of a job that got no machine: the file with the reason.
    await on(host, ['sh', '-c', `rm -f /run/caddis/jobs/slurm-${String(FIRST_JOB).slice(0, -2)}??`]);
  }
}

async function status(host: LabHost) {
  return JSON.parse(await on(host, [hookClient, 'status'])) as {
    resident_bytes: number;
    uptime_seconds: number;
    machines: unknown[];
  };
}
