import { constants } from 'node:os';

import type { JobRequest, Verdict } from '../../model/job.ts';
import type { RunCommand } from './commands.ts';
import { askJob } from './complete.ts';

const { SIGTERM, SIGTSTP, SIGCONT } = constants.signals;

/** Cancel, time limit, requeue and preemption all begin with CONT and TERM; suspend with TSTP, resume is CONT (facts: "Signals at the batch shim"). */
export const AMBIGUOUS_SIGNALS: ReadonlySet<number> = new Set([SIGTERM, SIGTSTP, SIGCONT]);

/**
 * Requeue or cancel? JobState is COMPLETING for both, but slurmctld counts the restart before it lets the nodes know (facts). Throws SchedulerUnavailable when there is no
 * answer.
 */
export async function meaning(
  request: JobRequest,
  node: string,
  signal: AbortSignal,
  run: RunCommand,
): Promise<Verdict> {
  const record = await askJob(request.key, node, signal, run);
  if (record && record.restarts > request.restartCount) return 'requeued';
  return record?.state === 'SUSPENDED' ? 'suspended' : 'deliver';
}
