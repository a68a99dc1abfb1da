import { setTimeout as delay } from 'node:timers/promises';

import type { JobKey, JobRequest } from '../../model/job.ts';
import { SchedulerUnavailable } from '../scheduler.ts';
import { type RunCommand, SlurmRefused } from './commands.ts';
import { type JobRecord, parseJobRecord } from './job-record.ts';

/**
 * Fills in what a prolog is not told, with one query of the controller after a random delay: a burst of array tasks is spread. Throws SchedulerUnavailable.
 */
export async function complete(
  request: JobRequest,
  node: string,
  { jitterMs, signal }: { jitterMs: number; signal: AbortSignal },
  run: RunCommand,
): Promise<JobRequest> {
  await delay(Math.random() * jitterMs, undefined, { signal }).catch((error: unknown) => {
    throw new SchedulerUnavailable(`no time was left to ask slurmctld about job ${request.key.jobId}`, {
      cause: error,
    });
  });
  const record = await askJob(request.key, node, signal, run);
  if (!record) return request;
  return {
    ...request,
    cpus: request.cpus ?? record.cpus,
    memoryBytes: request.memoryBytes ?? record.memoryBytes,
    memorySource: request.memorySource ?? record.memorySource,
    scratchBytes: request.scratchBytes ?? record.scratchBytes,
    jobName: record.jobName,
    // Its other components have machines of their own, on whatever host.
    hosts: record.heterogeneous ? Math.max(request.hosts, 2) : request.hosts,
    requeueable: record.requeueable,
  };
}

/**
 * What slurmctld says of a job, for one RPC (--local: not which federation it is in); undefined if it knows no such job. Throws SchedulerUnavailable when there is no
 * answer.
 */
export async function askJob(
  key: JobKey,
  node: string,
  signal: AbortSignal,
  run: RunCommand,
): Promise<JobRecord | undefined> {
  try {
    const text = await run(['scontrol', '--local', '-o', 'show', 'job', key.jobId], signal);
    return parseJobRecord(text, key.jobId, node);
  } catch (error) {
    if (error instanceof SlurmRefused && /invalid job id/i.test(error.message)) return undefined;
    if (error instanceof SlurmRefused) throw new SchedulerUnavailable(error.message, { cause: error });
    throw error;
  }
}
