import { setTimeout as sleep } from 'node:timers/promises';

import type { JobRequest } from '../../model/job.ts';
import type { RunCommand } from '../run-program.ts';
import { parseQstatJob } from './qstat.ts';

/** Complexes that ask for memory per slot, the strongest first; as in hooks/gridengine/jsv/decide.ts. */
export const MEMORY_COMPLEXES = ['vm_mem', 'h_vmem', 'mem_free', 'virtual_free'];
/** What a job that is lent its memory asks for, all of it together. */
const SLACK_COMPLEX = 'vm_mem_slack';
const LENT_COMPLEX = 'scavenge';
const SCRATCH_COMPLEX = 'vm_tmp';

/** Asks the qmaster for what the prolog's environment did not say; at most one query, after up to `jitterMs`. */
export async function complete(
  request: JobRequest,
  { jitterMs, signal }: { jitterMs: number; signal: AbortSignal },
  run: RunCommand,
): Promise<JobRequest> {
  if (request.memoryBytes !== undefined) return request;
  await sleep(Math.random() * jitterMs, undefined, { signal });
  const job = parseQstatJob(await run(['qstat', '-xml', '-j', request.key.jobId], signal), request.key.jobId);
  if (!job) return request;
  const isLent = job.hard.has(LENT_COMPLEX);
  const name = (isLent ? [SLACK_COMPLEX] : MEMORY_COMPLEXES).find(
    (complex) => (job.hard.get(complex)?.value ?? 0) > 0,
  );
  const memory = name === undefined ? undefined : job.hard.get(name);
  const slots = isLent ? 1 : (request.cpus ?? 1);
  const scratch = job.hard.get(SCRATCH_COMPLEX)?.value;
  return {
    ...request,
    memoryBytes: memory && Math.round(memory.value) * slots,
    memorySource: memory && `${name}=${memory.text}${slots > 1 ? ` x ${slots} slots` : ''}`,
    scratchBytes: request.scratchBytes ?? (scratch === undefined ? undefined : Math.round(scratch)),
  };
}
