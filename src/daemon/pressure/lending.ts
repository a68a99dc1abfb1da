import type { Config } from '../../config/schema.ts';
import { CaddisError } from '../../model/errors.ts';
import { formatBytes } from '../../model/units.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { askOnce } from '../start-machine.ts';

/** What a job was to be lent is not there (any more): it goes back to the queue, whatever the site chose for jobs without a machine. */
class NotCovered extends CaddisError {
  override name = 'NotCovered';
}

export function isNotCovered(error: unknown): boolean {
  return error instanceof NotCovered;
}

/** Whether jobs of this partition or queue run in what others have reserved. */
export function isScavengeQueue(config: Config, queue: string): boolean {
  return config.pressure.scavenge.includes(queue);
}

export function isBorrower({ config }: Pick<Node, 'config'>, job: Job): boolean {
  return isScavengeQueue(config, job.facts.request.queue);
}

/**
 * Grants a borrower its memory, if the slack of this moment covers it: the scheduler sent it here by numbers that may be seconds old, and another one may have come on the same
 * numbers. `savedBytes`: what its saved machine has. Throws NotCovered; without data nothing is granted.
 */
export async function grantSlack(
  node: Node,
  job: Job,
  savedBytes: number,
  signal: AbortSignal,
): Promise<void> {
  await askOnce(job, signal);
  const asked = job.facts.request.memoryBytes;
  if (asked === undefined)
    throw new NotCovered('nobody says how much memory this job needs: it cannot run in slack');
  // It would stand still from the beginning, and be sent back then.
  const busy = node.giveBack.whyNoCpus;
  if (busy !== undefined) throw new NotCovered(`${busy}: nothing is left for this job`);
  const bytes = Math.max(asked, savedBytes);
  // No await between the two: of those who come at once, each sees what the one before it was granted.
  const lendable = node.lendableBytes;
  if (lendable === undefined) throw new NotCovered('what this node could lend is not known at the moment');
  if (bytes > lendable)
    throw new NotCovered(
      `this job needs ${formatBytes(bytes)}, and this node can lend ${formatBytes(lendable)} now`,
    );
  job.sizes.memoryBytes = bytes;
  job.isAdmitted = true;
  job.log.info(`lent ${formatBytes(bytes)} of ${formatBytes(lendable)} that this node can lend`);
}

/** Bytes of the host that borrowers hold: an owner's start does not count them as taken, since it has them back when it wants them. */
export function heldByBorrowers(node: Node): number {
  const seen = new Map(node.view?.jobs.map(({ job, usage }) => [job, usage?.residentBytes]));
  return node.jobs
    .all()
    .filter((job) => isBorrower(node, job))
    .reduce((sum, job) => sum + (seen.get(job) ?? job.sizes.memoryBytes ?? 0), 0);
}
