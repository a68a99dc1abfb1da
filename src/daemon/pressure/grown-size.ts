import { messageOf } from '../../model/errors.ts';
import { MiB } from '../../model/units.ts';
import type { Size } from '../../pressure/growth.ts';
import type { MachineFacts } from '../../vm/metadata.ts';
import type { Job } from '../job.ts';
import { offered } from '../machine-size.ts';

const TELL_TIMEOUT_MS = 20_000;
/** Schedulers round what is asked for up to whole MiB, for each slot. */
const ROUNDING_SHARE = 0.02;

/** What a job's user asked for: what was asked for in the job's name does not count, unless the user has asked for more than that since. */
export function askedFor(job: Pick<Job, 'facts' | 'sizes'>): Size {
  const { request, growth } = job.facts;
  // Who asked for nothing has what a machine offers by itself.
  const now = request.memoryBytes ?? growth?.askedBytes ?? offered(job);
  const ours = Math.max(growth?.raisedBytes ?? 0, growth?.memoryBytes ?? 0);
  const isOurs = now <= ours * (1 + ROUNDING_SHARE) + MiB;
  return {
    memoryBytes: growth?.askedBytes !== undefined && isOurs ? growth.askedBytes : now,
    cpus: request.cpus ?? 1,
  };
}

/** What a machine was grown to, and what was asked for since in its job's name, is no growth any more; nor is it the user's own request. */
export function countAsRaised({ growth, request }: Pick<MachineFacts, 'growth' | 'request'>): void {
  if (growth?.memoryBytes === undefined || (request.memoryBytes ?? 0) < growth.memoryBytes) return;
  growth.raisedBytes = Math.max(growth.raisedBytes ?? 0, growth.memoryBytes);
  delete growth.memoryBytes;
}

/** Notes in a job's facts what its machine was grown to. */
export function noteGrowth(job: Pick<Job, 'facts' | 'sizes'>, asked: Size): void {
  const { request, growth } = job.facts;
  const { memoryBytes, cpus } = job.sizes;
  const { memoryBytes: _memory, cpus: _cpus, ...kept } = growth ?? { requeues: 0 };
  job.facts.growth = {
    ...kept,
    askedBytes: asked.memoryBytes,
    ...(isMore(memoryBytes, request.memoryBytes ?? asked.memoryBytes) ? { memoryBytes } : {}),
    ...(isMore(cpus, asked.cpus) ? { cpus } : {}),
  };
}

/** The size of a machine that has more than was asked for, where its scheduler can say it. It only informs. */
export async function tellSize(job: Job): Promise<void> {
  const { growth, request } = job.facts;
  const { memoryBytes, cpus } = job.sizes;
  const isGrown = growth?.memoryBytes !== undefined || growth?.cpus !== undefined;
  const size =
    isGrown && memoryBytes !== undefined ? { memoryBytes, cpus: cpus ?? request.cpus ?? 1 } : undefined;
  await job.scheduler
    .noteSize(job.request, size, AbortSignal.timeout(TELL_TIMEOUT_MS))
    .catch((error: unknown) => job.log.warn(`its scheduler was not told of its size: ${messageOf(error)}`));
}

function isMore(now: number | undefined, asked: number): now is number {
  return now !== undefined && now > asked;
}
