import { messageOf } from '../../model/errors.ts';
import type { Node } from '../node.ts';
import { migrate } from './migrate.ts';

/** Phases from which a job can be sent back to the queue. */
const LEAVES = new Set(['ready', 'running', 'frozen', 'releasing', 'released']);

/**
 * Takes this node out of service and has every job leave it with its state. What cannot be moved (interactive jobs, several hosts) runs on to its end; the caller sees by
 * `status` what is left. Resolves when all have been told.
 */
export async function drain(node: Node, reason: string | undefined): Promise<void> {
  await node.health.keepOut(reason || 'drained by an admin');
  await Promise.all(
    node.jobs.all().map(async (job) => {
      if (!LEAVES.has(job.state.phase)) return;
      await migrate(node, job).catch((error: unknown) =>
        job.log.warn(`stays on this node: ${messageOf(error)}`),
      );
    }),
  );
}

export async function undrain(node: Node): Promise<void> {
  await node.health.letIn();
}
