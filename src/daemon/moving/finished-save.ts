import type { Generation } from '../../checkpoint/generation.ts';
import type { Job } from '../job.ts';
import type { Checkpoints } from './checkpoints.ts';
import { isLastWord } from './resume-job.ts';

/**
 * The checkpoint with which an earlier caddisd had finished the save that is done over now: it was killed before it could end the machine, which has stood still since.
 * Throws StoreUnavailable.
 */
export async function finishedSave({ store }: Checkpoints, job: Job): Promise<Generation | undefined> {
  const from = job.facts.restoredFrom ?? 0;
  for (const one of await store.generations(job.key)) {
    if (one.state !== 'complete' || one.number <= from) continue;
    if (one.manifest.machine !== job.machine || !isLastWord(one.manifest)) continue;
    if (!(await store.wasResumed(one))) return one;
  }
  return undefined;
}
