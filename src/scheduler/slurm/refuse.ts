import { messageOf } from '../../model/errors.ts';
import type { JobRequest } from '../../model/job.ts';
import { writeRefusal } from '../refusal.ts';
import type { HookAnswer } from '../scheduler.ts';
import type { Refusing } from './commands.ts';
import { requeue } from './requeue.ts';

/** Puts the job back, or, where Slurm will not, lets it fail with the reason. Either way the prolog answers 0: anything else drains the node and holds the job. */
export async function refuse(
  request: JobRequest,
  reason: string,
  { runDir, here, run, signal }: Refusing,
): Promise<HookAnswer> {
  await writeRefusal(runDir, request.key, reason);
  try {
    await requeue(request.key, here, signal, run);
    return { exitCode: 0 };
  } catch (error) {
    return { exitCode: 0, stderr: `caddis: not requeued: ${messageOf(error)}\n` };
  }
}
