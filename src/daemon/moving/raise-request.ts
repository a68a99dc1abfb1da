import { messageOf } from '../../model/errors.ts';
import { formatBytes } from '../../model/units.ts';
import type { Job } from '../job.ts';

/** A scheduler closes its books on a run within KillWait (30 s by default) and an epilog. */
const RAISE_TIMEOUT_MS = 120_000;

/**
 * Asks for the memory that a job which left this node needs, or has: what it was grown to, or what it was put back for. Where the scheduler takes no such word the job goes on
 * with what it has.
 */
export async function raiseRequest(job: Job): Promise<void> {
  const { growth, request } = job.facts;
  const bytes = Math.max(growth?.raisedBytes ?? 0, growth?.memoryBytes ?? 0);
  if (bytes <= (request.memoryBytes ?? 0)) return;
  try {
    const signal = AbortSignal.timeout(RAISE_TIMEOUT_MS);
    await job.scheduler.raise.check(job.request, signal);
    await job.scheduler.raise.memory(job.request, bytes, signal);
    job.log.info(`its request is ${formatBytes(bytes)} of memory from now on`);
  } catch (error) {
    job.log.warn(`its request for memory stays as it was: ${messageOf(error)}`);
  }
}
