import type { JobRequest } from '../../model/job.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';

/** Within this time slurmctld has the steps of a job that is put back end: KillWait (30 s by default) and an epilog. One that refused is forgotten then. */
const PUT_BACK_MS = 120_000;

/**
 * Why a job starts afresh when it is requeued, if so. Machines of a job on several hosts are not saved as one set yet, and half a set is never restored.
 */
export function whyNotSaved(node: Node, job: Job): string | undefined {
  if (!node.context.checkpoints) return 'there is no store (checkpoint.dir in caddis.toml)';
  if (isPutBackByItself(job)) return 'its own script has put it back, to run again from its beginning';
  const { hosts } = job.facts.request;
  return hosts > 1 ? `it runs on ${hosts} hosts, whose machines cannot be saved as one yet` : undefined;
}

/** Whether a requeue that comes now is what the job's own script has asked for. */
export function isPutBackByItself({ putBackByItselfMs }: Job): boolean {
  return putBackByItselfMs !== undefined && performance.now() - putBackByItselfMs < PUT_BACK_MS;
}

/** What the user of a job that starts again without its state is told in its output. */
export function whyAfresh(node: Node, { restartCount, hosts }: JobRequest): string | undefined {
  if (!node.context.checkpoints || restartCount === 0 || hosts === 1) return undefined;
  return `caddis: this job starts afresh: it runs on ${hosts} hosts, whose machines cannot be saved as one`;
}
