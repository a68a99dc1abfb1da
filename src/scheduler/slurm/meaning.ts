import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

import type { JobRequest, Verdict } from '../../model/job.ts';
import type { RunCommand } from '../run-program.ts';
import { askJob } from './complete.ts';

const { SIGTERM, SIGTSTP, SIGCONT } = constants.signals;

/** Cancel, time limit, requeue and preemption all begin with CONT and TERM; suspend with TSTP, resume is CONT (facts: "Signals at the batch shim"). */
export const AMBIGUOUS_SIGNALS: ReadonlySet<number> = new Set([SIGTERM, SIGTSTP, SIGCONT]);

/** slurmctld tells the nodes of a suspension before it has written it down: a TSTP that seems to be a user's own is asked about again. */
const ASK_AGAIN_MS = [150, 400];

/**
 * Requeue or cancel? JobState is COMPLETING for both, but slurmctld counts the restart before it lets the nodes know (facts). Throws SchedulerUnavailable when there is no
 * answer.
 */
export async function meaning(
  request: JobRequest,
  number: number,
  here: readonly string[],
  signal: AbortSignal,
  run: RunCommand,
): Promise<Verdict> {
  for (const afterMs of [0, ...(number === SIGTSTP ? ASK_AGAIN_MS : [])]) {
    await delay(afterMs, undefined, { signal });
    const record = await askJob(request.key, here, signal, run);
    if (record && record.restarts > request.restartCount) return 'requeued';
    if (record?.state === 'SUSPENDED') return 'suspended';
    // In its grace time it runs. One that is at its end, cancelled or by its time limit, has at most a name that speaks of preemption.
    if (record?.preempted && record.requeueable && record.state === 'RUNNING') {
      // Its grace time is for a program's own checkpoint; ours is taken now, and the preemptor need not wait.
      await run(['scontrol', 'requeue', record.taskName], signal);
      return 'requeued';
    }
    if (record?.state !== 'RUNNING') break;
  }
  return 'deliver';
}
