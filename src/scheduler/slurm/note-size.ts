import type { JobRequest, MachineSize } from '../../model/job.ts';
import { MiB } from '../../model/units.ts';
import type { RunCommand } from '../run-program.ts';
import { askJob } from './complete.ts';

/** Small letters, as sacctmgr writes them anyway, and no blanks in it. */
const OURS = /(?:^|\s+)caddis-grown:\S*/;

/** Puts the size of a grown machine into the AdminComment of its job, beside what the site keeps there: slurmctld lets nobody change the memory of a job that runs. */
export async function noteSize(
  { key }: JobRequest,
  size: MachineSize | undefined,
  here: readonly string[],
  signal: AbortSignal,
  run: RunCommand,
): Promise<void> {
  const record = await askJob(key, here, signal, run);
  // Somebody's own text looks like the field: what is there cannot be told.
  if (!record || record.adminComment === undefined) return;
  const comment = adminCommentWith(
    record.adminComment,
    size && `memory=${Math.ceil(size.memoryBytes / MiB)}m,cpus=${size.cpus}`,
  );
  if (comment === record.adminComment) return;
  await run(['scontrol', 'update', `jobid=${record.taskName}`, `AdminComment=${comment}`], signal);
}

export function adminCommentWith(comment: string, word: string | undefined): string {
  const others = comment.replace(OURS, '').trim();
  return word === undefined ? others : `${others} caddis-grown:${word}`.trim();
}
