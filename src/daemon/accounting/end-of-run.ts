import { usageSince } from '../../jobs/usage.ts';
import { messageOf } from '../../model/errors.ts';
import { formatKey } from '../../model/job.ts';
import type { EndedJob } from '../../model/usage.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { lookAtHostCpu, usageOf } from './tally.ts';

/** Jobs that never had a machine, or whose machine was accounted for when it left. */
const NOTHING_RAN = new Set(['starting', 'parked', 'ending', 'ended']);
/** The job goes on elsewhere, or later. */
const LEFT = new Set(['saving', 'saved']);

/** Notes what a run of a job used, once: for its scheduler, which waits for it, and, when the job is over, for its user. No failure of it is the job's. */
export async function accountFor(node: Node, job: Job, { requeued }: { requeued: boolean }): Promise<void> {
  const { phase } = job.state;
  if (job.isAccounted || NOTHING_RAN.has(phase)) return;
  job.isAccounted = true;
  await lookAtHostCpu(job);
  const total = usageOf(job);
  await job.scheduler
    .writeUsage?.(job.key, usageSince(total, job.facts.usedBefore))
    .catch((error: unknown) =>
      job.log.warn(`its scheduler counts only the idle client of its machine: ${messageOf(error)}`),
    );
  // A machine that was lost: its job was put back where that can be.
  const startsAgain = requeued || (job.state.lost !== undefined && job.request.requeueable);
  if (startsAgain || LEFT.has(phase)) return;
  await node.accounts
    .ended(job.key, endedJob(job, node.config.vm.base_memory))
    .catch((error: unknown) => job.log.warn(`what it used is not noted: ${messageOf(error)}`));
}

function endedJob(job: Job, baseMemoryBytes: number): EndedJob {
  const usage = usageOf(job);
  const { request } = job.facts;
  const wallSeconds = job.ranMs / 1000;
  const cpus = job.sizes.cpus ?? 1;
  const cpuSeconds = (usage.userMs + usage.systemMs) / 1000;
  return {
    job: formatKey(job.key),
    job_name: request.jobName,
    user: request.user,
    uid: request.uid,
    queue: request.queue,
    ended_at: new Date().toISOString(),
    wall_seconds: rounded(wallSeconds),
    cpus,
    cpu_seconds: rounded(cpuSeconds),
    cpu_efficiency: wallSeconds > 0 ? Math.min(1, rounded(cpuSeconds / (wallSeconds * cpus))) : 0,
    host_cpu_seconds: rounded(usage.hostCpuMs / 1000),
    memory_limit_bytes: job.sizes.memoryBytes ?? baseMemoryBytes,
    memory_asked: request.memorySource ?? null,
    memory_held_peak_bytes: usage.heldPeakBytes,
    memory_peak_bytes: usage.memoryPeakBytes,
    oom_kills: job.report?.sample.oomKills ?? 0,
  };
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
