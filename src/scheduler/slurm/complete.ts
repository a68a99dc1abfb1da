import { setTimeout as delay } from 'node:timers/promises';

import type { JobKey, JobRequest } from '../../model/job.ts';
import { MiB } from '../../model/units.ts';
import type { RunCommand } from '../run-program.ts';
import { SchedulerUnavailable } from '../scheduler.ts';
import { SlurmRefused } from './commands.ts';
import { type JobRecord, parseJobRecord } from './job-record.ts';

/**
 * Fills in what a prolog is not told, with one query of the controller after a random delay: a burst of array tasks is spread. `isLent`: a job of a scavenge partition, whose
 * memory is what it has of our GRES. Throws SchedulerUnavailable.
 */
export async function complete(
  request: JobRequest,
  here: readonly string[],
  { jitterMs, signal, isLent }: { jitterMs: number; signal: AbortSignal; isLent: boolean },
  run: RunCommand,
): Promise<JobRequest> {
  await delay(Math.random() * jitterMs, undefined, { signal }).catch((error: unknown) => {
    throw new SchedulerUnavailable(`no time was left to ask slurmctld about job ${request.key.jobId}`, {
      cause: error,
    });
  });
  const record = await askJob(request.key, here, signal, run);
  if (!record) return request;
  return {
    ...request,
    cpus: request.cpus ?? record.cpus,
    ...memoryOf(request, record, isLent),
    scratchBytes: request.scratchBytes ?? record.scratchBytes,
    jobName: record.jobName,
    // Its other components have machines of their own, on whatever host.
    hosts: record.heterogeneous ? Math.max(request.hosts, 2) : request.hosts,
    requeueable: record.requeueable,
  };
}

/** The memory that Slurm itself knows of a lent job is a nominal one (hooks/slurm/job_submit.lua). */
function memoryOf(
  request: JobRequest,
  { memoryBytes, memorySource, slackBytes }: JobRecord,
  isLent: boolean,
): Pick<JobRequest, 'memoryBytes' | 'memorySource'> {
  if (isLent)
    return {
      memoryBytes: slackBytes,
      memorySource: slackBytes === undefined ? undefined : `--mem=${slackBytes / MiB}M`,
    };
  return {
    memoryBytes: request.memoryBytes ?? memoryBytes,
    memorySource: request.memorySource ?? memorySource,
  };
}

/**
 * What slurmctld says of a job, for one RPC (--local: not which federation it is in); undefined if it knows no such job. Throws SchedulerUnavailable when there is no
 * answer.
 */
export async function askJob(
  key: JobKey,
  here: readonly string[],
  signal: AbortSignal,
  run: RunCommand,
): Promise<JobRecord | undefined> {
  try {
    const text = await run(['scontrol', '--local', '-o', 'show', 'job', key.jobId], signal);
    return parseJobRecord(text, key.jobId, here);
  } catch (error) {
    if (error instanceof SlurmRefused && /invalid job id/i.test(error.message)) return undefined;
    if (error instanceof SlurmRefused) throw new SchedulerUnavailable(error.message, { cause: error });
    throw error;
  }
}
