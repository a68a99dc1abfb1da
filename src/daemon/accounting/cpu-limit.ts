import { cpuLimitReached, limitedCpuMs } from '../../jobs/usage.ts';
import type { Job } from '../job.ts';
import { usageOf } from './tally.ts';

/** Linux's numbers, signal(7). */
const SIGKILL = 9;
const SIGXCPU = 24;

/**
 * Ends a job whose processes have used more CPU time, all together and on all nodes, than its scheduler lets it: by the signals that the scheduler would send. A limit on
 * each process is in the guest's own rlimits.
 */
export function enforceCpuLimit(job: Job): void {
  const { cpuLimits } = job.facts.request;
  if (!cpuLimits) return;
  const usage = usageOf(job);
  const reached = cpuLimitReached(usage, cpuLimits);
  if (reached === undefined || reached === job.cpuLimitSeen || job.cpuLimitSeen === 'hard') return;
  job.cpuLimitSeen = reached;
  const limitMs = reached === 'hard' ? cpuLimits.hardMs : cpuLimits.softMs;
  job.log.info(
    `it has used ${Math.round(limitedCpuMs(usage) / 1000)} s of CPU time, and may use ${(limitMs ?? 0) / 1000} s: ${reached === 'hard' ? 'ending its steps' : 'its steps get SIGXCPU'}`,
  );
  job.resources.guest?.signalSteps(reached === 'hard' ? SIGKILL : SIGXCPU);
}
