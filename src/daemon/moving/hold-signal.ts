import { constants } from 'node:os';

import { standsStill } from '../../jobs/transitions.ts';
import { messageOf } from '../../model/errors.ts';
import type { Job } from '../job.ts';

/**
 * Freeze first, then ask: a signal that may mean the whole job stops its machine before any process sees it, and waits for what the scheduler says it meant. A machine that
 * stands still takes none: what reaches its shims waits, and may be why it goes on.
 */
export function holdSignal(job: Job, signal: number): 'pass' | 'hold' {
  const isAmbiguous = job.scheduler.ambiguousSignals.has(signal);
  // CONT changes nothing for a job that runs; before a TERM it goes ahead of it.
  if (!standsStill(job.state) && (!isAmbiguous || signal === constants.signals.SIGCONT)) return 'pass';
  if (isAmbiguous)
    job.dispatch({ type: 'halted', signal }).catch((error: unknown) => job.log.error(messageOf(error)));
  return 'hold';
}
