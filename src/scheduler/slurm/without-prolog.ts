import type { JobFacts, JobKey, JobRequest } from '../../model/job.ts';
import type { RunCommand } from '../run-program.ts';
import { SchedulerUnavailable } from '../scheduler.ts';
import { askJob } from './complete.ts';
import { isOnOneOf } from './job-record.ts';

/**
 * What a prolog would have been told. slurmd leaves the prolog of a job out that comes back to a node before the credential of its last run there has expired, when it has looked for
 * expired ones within the last two seconds (22.05, slurm_cred.c: `_clear_expired_job_states`, called by `slurm_cred_handle_reissue`): with a requeue delay that was cut short, or
 * at its very end. Undefined for a job that is gone, or starts for the first time; any doubt throws SchedulerUnavailable, since what has no machine would run on the host.
 */
export async function withoutProlog(
  key: JobKey,
  { vm }: NonNullable<JobFacts['unheralded']>,
  here: readonly string[],
  signal: AbortSignal,
  run: RunCommand,
): Promise<JobRequest | undefined> {
  const record = await askJob(key, here, signal, run);
  if (!record) return undefined;
  if (!record.start || !isOnOneOf(record.nodes, here))
    throw new SchedulerUnavailable(
      `slurmctld does not say clearly that job ${key.jobId} is on ${here.join(' or ')}: no machine can be made for it`,
    );
  if (record.restarts === 0) return undefined;
  const { user, uid, gid, partition, workDir, hosts, gpus } = record.start;
  return {
    key,
    restartCount: record.restarts,
    ...{ user, uid, gid, workDir, vm },
    // The rest is asked for as after any prolog (complete.ts).
    ...{ cpus: record.cpus, memoryBytes: undefined, memorySource: undefined, scratchBytes: undefined },
    queue: partition,
    devices: gpus && `${gpus} of ${here[0]}`,
    // Its other components have machines of their own, on whatever host.
    hosts: record.heterogeneous ? Math.max(hosts, 2) : hosts,
    requeueable: record.requeueable,
    jobName: record.jobName,
  };
}
