import type { JobRequest } from '../../model/job.ts';
import { writeRefusal } from '../refusal.ts';
import type { HookAnswer } from '../scheduler.ts';
import type { Refusing } from './commands.ts';
import { askJob } from './complete.ts';

/** Back into the queue and held: `scontrol show job` has the reason as its comment. Throws SchedulerUnavailable or SlurmRefused. */
export async function hold(
  request: JobRequest,
  reason: string,
  { runDir, here, run, signal }: Refusing,
): Promise<HookAnswer> {
  await writeRefusal(runDir, request.key, reason);
  const record = await askJob(request.key, here, signal, run);
  if (!record) return { exitCode: 0 };
  await run(['scontrol', 'update', `jobid=${record.taskName}`, `Comment=caddis: ${reason}`], signal);
  await run(['scontrol', 'requeuehold', record.taskName], signal);
  return { exitCode: 0 };
}
