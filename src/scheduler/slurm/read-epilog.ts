import type { HookCall, JobKey } from '../../model/job.ts';
import { jobIdOf, requiredCount } from './environment.ts';

/**
 * What an Epilog's environment says. In the epilog of a job that was requeued, held or preempted SLURM_JOB_RESTART_COUNT is already one higher than in its
 * prolog; after a cancel, a time limit or the end it is the same (facts/slurm.md). `restartsAtProlog` undefined: there is no machine of this job; then the
 * count says nothing and `requeued` is false.
 */
export function readEpilog(
  call: HookCall,
  restartsAtProlog: (key: JobKey) => number | undefined,
): { readonly key: JobKey; readonly requeued: boolean; readonly restartCount: number } {
  const key: JobKey = { scheduler: 'slurm', jobId: jobIdOf(call.env), task: '0' };
  const restartCount = requiredCount(call.env, 'SLURM_JOB_RESTART_COUNT');
  const before = restartsAtProlog(key);
  return { key, requeued: before !== undefined && restartCount > before, restartCount };
}
