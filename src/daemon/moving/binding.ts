import { messageOf } from '../../model/errors.ts';
import type { MachineFacts } from '../../vm/metadata.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { raiseRequest } from './raise-request.ts';

/** slurmctld closes its books on a run within KillWait (30 s by default) and an epilog. */
const BIND_TIMEOUT_MS = 120_000;
const AGAIN_TIMEOUT_MS = 30_000;

/** Notes that a job's next start will be bound to a host, and what its scheduler had been told before: to be called before anything of it is saved. */
export async function noteBinding(job: Job, host: string, signal: AbortSignal): Promise<void> {
  const before = job.facts.bound?.before ?? (await job.scheduler.placement.current(job.key, signal));
  job.facts.bound = { host, before };
}

/** Binds the job as was noted. Resolves at once where its scheduler takes that only later: `startAgain` waits for it. */
export async function bindAsNoted(job: Job): Promise<void> {
  const { placement } = job.scheduler;
  const { bound } = job.facts;
  if (!bound) return;
  const { host, before } = bound;
  const work = placement.bind(job.key, host, before, AbortSignal.timeout(BIND_TIMEOUT_MS));
  if (placement.when === 'running') await work;
  job.binding = work.catch((error: unknown) => {
    job.log.warn(`the job is not bound to ${host}: ${messageOf(error)}`);
  });
}

/** What the next start has to know: a job that leaves unbound is set free on its way. */
export function factsToTake(job: Job): MachineFacts {
  const { bound, ...facts } = job.facts;
  return bound && job.binding !== undefined ? { ...facts, bound } : facts;
}

/** Spares a job whose state was saved its scheduler's wait, once it is bound, or free again, as it should be, and asks for the memory that it needs. */
export function startAgain(node: Node, job: Job): void {
  const again = async () => {
    const { bound } = job.facts;
    if (job.binding) await job.binding;
    else if (bound)
      await job.scheduler.placement.restore(job.key, bound.before, AbortSignal.timeout(BIND_TIMEOUT_MS));
    await (job.raising ?? raiseRequest(node, job));
    if (node.config.policy.restart_at_once)
      await job.scheduler.beginAgain(job.key, AbortSignal.timeout(AGAIN_TIMEOUT_MS));
  };
  again().catch((error: unknown) =>
    job.log.warn(`the job starts again later than it could: ${messageOf(error)}`),
  );
}

/** A job that runs on the host it was bound to is free again, where its scheduler takes that while it runs; else when it leaves. */
export async function unbind(job: Job): Promise<void> {
  const { placement } = job.scheduler;
  const { bound } = job.facts;
  if (!bound || placement.when !== 'running') return;
  await placement
    .restore(job.key, bound.before, AbortSignal.timeout(AGAIN_TIMEOUT_MS))
    .then(() => {
      delete job.facts.bound;
    })
    .catch((error: unknown) => job.log.warn(`the job stays bound to ${bound.host}: ${messageOf(error)}`));
}
