import type { HookCall, JobRequest } from '../../model/job.ts';
import { type Environment, jobIdOf, required, requiredCount } from './environment.ts';
import { countAt, expandHostlist } from './hostlist.ts';

const SHORTEST_INTERVAL_S = 5;

/**
 * What a Prolog's environment says (22.05: test/unit/slurm/fixtures/prolog-*.json). It names neither memory nor --tmp, job name or array task; memory comes
 * from slurmstepd (the `facts` verb), the rest from `complete`. SPANK_* are the user's own words and are checked; all else is slurmctld's.
 */
export function readProlog(call: HookCall): JobRequest {
  const { env } = call;
  return {
    key: { scheduler: 'slurm', jobId: jobIdOf(env), task: '0' },
    restartCount: requiredCount(env, 'SLURM_JOB_RESTART_COUNT'),
    user: required(env, 'SLURM_JOB_USER'),
    uid: requiredCount(env, 'SLURM_JOB_UID'),
    gid: requiredCount(env, 'SLURM_JOB_GID'),
    cpus: cpusHere(env),
    memoryBytes: undefined,
    memorySource: undefined,
    scratchBytes: undefined,
    queue: required(env, 'SLURM_JOB_PARTITION'),
    vm: vmChoice(env.SPANK_CADDIS_VM),
    devices: env.SLURM_JOB_GPUS
      ? `GPUs ${env.SLURM_JOB_GPUS} of ${env.SLURMD_NODENAME ?? 'this node'}`
      : undefined,
    checkpointMs: intervalMs(env.SPANK_CADDIS_CHECKPOINT),
    hosts: Number(env.SLURM_JOB_NUM_NODES ?? 1) || 1,
    // salloc and srun have no batch script, hence no stdin file. --no-requeue does not show here: the controller says no when it comes to it.
    requeueable: env.SLURM_JOB_STDIN !== undefined,
    jobName: '',
    workDir: env.SLURM_JOB_WORK_DIR ?? '/',
  };
}

/** CPUs of the job on this node: SLURM_JOB_CPUS_PER_NODE is a list in the order of SLURM_NODELIST. Undefined if the two do not fit. */
function cpusHere(env: Environment): number | undefined {
  const perNode = env.SLURM_JOB_CPUS_PER_NODE;
  if (perNode === undefined) return undefined;
  if (!perNode.includes(',')) return countAt(perNode, 0);
  const place = expandHostlist(env.SLURM_NODELIST ?? '')?.indexOf(env.SLURMD_NODENAME ?? '');
  return place === undefined || place < 0 ? undefined : countAt(perNode, place);
}

/** `90s`, `30m`, `2h`, a number of seconds: the user's own words, checked. Less than a few seconds would be nothing but checkpoints. */
function intervalMs(text: string | undefined): number | undefined {
  const match = /^(\d{1,6})([smh]?)$/.exec(text ?? '');
  if (!match) return undefined;
  const seconds = Number(match[1]) * { s: 1, m: 60, h: 3600 }[(match[2] || 's') as 's' | 'm' | 'h'];
  return seconds === 0 ? undefined : Math.max(seconds, SHORTEST_INTERVAL_S) * 1000;
}

/** The user's own word, checked. */
export function vmChoice(text: string | undefined): JobRequest['vm'] {
  return text === 'on' || text === 'off' ? text : undefined;
}
