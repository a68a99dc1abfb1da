import { messageOf } from '../../model/errors.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { snapshot } from './snapshot.ts';
import { whyNotSaved } from './why-not-saved.ts';

/**
 * Saves a running job again and again, as its user (--vm-checkpoint) or the site (checkpoint.interval) asked. The interval is between the end of one and the start of the next; one
 * that cannot be taken is logged and passed over.
 */
export function savePeriodically(node: Node, job: Job): void {
  const everyMs = job.facts.request.checkpointMs ?? node.config.checkpoint.interval * 1000;
  if (everyMs === 0 || whyNotSaved(node, job) !== undefined) return;
  const again = () => {
    const timer = setTimeout(() => void saveOnce(node, job).then((goesOn) => goesOn && again()), everyMs);
    timer.unref();
  };
  again();
}

/** Phases in which a job may run again on this node: one that was suspended and released is saved as before when it goes on. */
const STAYS = new Set(['ready', 'running', 'frozen', 'releasing', 'released', 'restoring']);

async function saveOnce(node: Node, job: Job): Promise<boolean> {
  const { phase } = job.state;
  if (phase === 'running' && job.state.lost === undefined)
    await snapshot(node, job, 'periodic').then(
      ({ number }) => job.log.info(`checkpoint ${number} taken`),
      (error: unknown) => job.log.warn(`no checkpoint this time: ${messageOf(error)}`),
    );
  return STAYS.has(phase);
}
