import { CaddisError } from '../../model/errors.ts';
import type { Job } from '../job.ts';
import { whyNotSaved } from '../moving/why-not-saved.ts';
import type { Node } from '../node.ts';

/** Throws CaddisError with the reason why a job cannot be saved, if there is one. */
export function refuseUnsavable(node: Node, job: Job): void {
  const obstacle = whyNotSaved(node, job);
  if (obstacle !== undefined) throw new CaddisError(`this job cannot be moved with its state: ${obstacle}`);
}
