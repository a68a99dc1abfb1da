import { messageOf } from '../../model/errors.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';

/** slurmctld closes its books on a run within KillWait (30 s by default) and an epilog. */
const BIND_TIMEOUT_MS = 120_000;
const AGAIN_TIMEOUT_MS = 30_000;

/** Binds a job's next start to a host, at the time when its scheduler takes that. Resolves at once where the scheduler takes it only later: `startAgain` waits for it. */
export async function bindTo(job: Job, host: string): Promise<void> {
  const { placement } = job.scheduler;
  const signal = AbortSignal.timeout(BIND_TIMEOUT_MS);
  const before = job.facts.bound?.before ?? (await placement.current(job.key, signal));
  job.facts.bound = { host, before };
  const bound = placement.bind(job.key, host, before, signal);
  if (placement.when === 'running') return bound;
  job.binding = bound.catch((error: unknown) => {
    job.log.warn(`the job is not bound to ${host}: ${messageOf(error)}`);
  });
}

/** Spares a job whose state was saved its scheduler's wait, once it is bound, or free again, as it should be. */
export function startAgain({ config }: Node, job: Job): void {
  const again = async () => {
    const { bound } = job.facts;
    if (job.binding) await job.binding;
    else if (bound)
      await job.scheduler.placement.restore(job.key, bound.before, AbortSignal.timeout(BIND_TIMEOUT_MS));
    if (config.policy.restart_at_once)
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
