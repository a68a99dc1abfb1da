import type { JobKey } from '../../model/job.ts';
import type { RunCommand } from '../run-program.ts';
import { SlurmRefused } from './commands.ts';
import { askJob } from './complete.ts';
import type { JobRecord } from './job-record.ts';

/** Its end is under way or past. slurmctld would requeue it all the same, and a job that was cancelled while it started would live again. */
export function isOver({ state }: JobRecord): boolean {
  return /^(COMPLETING|CANCELLED)/.test(state);
}

/**
 * Puts this very task back into the queue; false if Slurm will not (salloc, srun, --no-requeue, ended or ending). The raw id of an array's last task is the id of the
 * whole array, and hooks are not told which it is, so the task's name is asked first. slurmctld itself lets it wait (BeginTime): no tight loop.
 * Throws SchedulerUnavailable when there is no answer.
 */
export async function requeue(
  key: JobKey,
  here: readonly string[],
  signal: AbortSignal,
  run: RunCommand,
): Promise<boolean> {
  const record = await askJob(key, here, signal, run);
  if (!record || isOver(record)) return false;
  try {
    await run(['scontrol', 'requeue', record.taskName], signal);
    return true;
  } catch (error) {
    if (error instanceof SlurmRefused) return false;
    throw error;
  }
}
