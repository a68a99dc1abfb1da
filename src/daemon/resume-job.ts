import { isCheckpointRefused } from '../checkpoint/errors.ts';
import type { Generation } from '../checkpoint/generation.ts';
import { messageOf } from '../model/errors.ts';
import type { JobRequest } from '../model/job.ts';
import { type Checkpoints, targetOf } from './checkpoints.ts';
import type { Job } from './job.ts';
import { keepOutput } from './kept-output.ts';
import { restoreMachine, wakeMachine } from './restore-machine.ts';
import type { NodeContext } from './start-machine.ts';

/** The checkpoint that a job which starts again goes on from, if it has one; a job that starts for the first time has none of its own. */
export async function newestCheckpoint(
  checkpoints: Checkpoints,
  request: JobRequest,
  refused: ReadonlySet<number>,
  say: (text: string) => void,
): Promise<Generation | undefined> {
  if (request.restartCount === 0) return undefined;
  const found = await checkpoints.store.newest(targetOf(request, checkpoints.identity), refused);
  for (const { number, why } of found.refused)
    if (!refused.has(number)) say(`checkpoint ${number} is passed over: ${why}`);
  return found.generation;
}

/**
 * Restores a job's machine and lets it go on. Throws CheckpointRefused when the images are not what was saved: then the next older one may serve.
 */
export async function goOn(
  context: NodeContext,
  checkpoints: Checkpoints,
  job: Job,
  generation: Generation,
  signal: AbortSignal,
): Promise<void> {
  const { manifest } = generation;
  job.log.info(
    `going on from checkpoint ${generation.number}, taken on ${manifest.host} at ${manifest.takenAt}`,
  );
  await restoreMachine(context, checkpoints, job, generation, signal);
  // Before the scheduler opens the output files of the new run.
  job.kept = await keepOutput(job, manifest.sessions);
  job.cameWith = manifest.sessions;
  await wakeMachine(context, job, manifest, signal);
}

/** True when another checkpoint, or a fresh start, may still serve the job. */
export function isRefusedCheckpoint(error: unknown, say: (text: string) => void): boolean {
  if (!isCheckpointRefused(error)) return false;
  say(`checkpoint refused: ${messageOf(error)}`);
  return true;
}
