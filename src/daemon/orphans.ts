import { messageOf } from '../model/errors.ts';
import { accountFor } from './accounting/end-of-run.ts';
import type { Job } from './job.ts';
import type { Node } from './node.ts';

/** Bound on asking a scheduler whether a job is still its own. */
const ASK_TIMEOUT_MS = 10_000;

/** Ends the jobs that their scheduler does not know on this node any more: their epilog came while no caddisd ran. No answer changes nothing. */
export async function endOrphans(node: Node): Promise<void> {
  for (const job of node.jobs.all()) await endOrphan(node, job);
}

/** The same for one job. */
export async function endOrphan(node: Node, job: Job): Promise<void> {
  // Its scheduler has let go of it, as it should have.
  if (job.state.phase === 'parked') return;
  const running = await job.scheduler
    .isRunning(job.key, AbortSignal.timeout(ASK_TIMEOUT_MS))
    .catch(() => undefined);
  if (running !== false) return;
  const isSaved = job.state.phase === 'saving' || job.state.phase === 'saved';
  const what = isSaved ? 'it is saved' : 'ending its machine';
  job.log.warn(`the scheduler does not know this job on this node any more: ${what}`);
  await accountFor(node, job, { requeued: isSaved });
  await job.dispatch({ type: 'orphaned' }).catch((error: unknown) => job.log.error(messageOf(error)));
}
