import { messageOf } from '../../model/errors.ts';
import type { JobRequest } from '../../model/job.ts';
import { writeRefusal } from '../refusal.ts';
import type { RunCommand } from '../run-program.ts';
import type { HookAnswer } from '../scheduler.ts';
import type { Refusing } from './commands.ts';
import { askJob } from './complete.ts';
import type { JobRecord } from './job-record.ts';
import { isOver } from './requeue.ts';

const OURS = /\[caddis: ([^\];]*)[^\]]*\]/;
/** slurmctld keeps longer ones, but "scontrol show job" prints one line. */
const REASON_MAX = 160;

/**
 * Back into the queue, with the reason in the job's AdminComment. slurmctld itself lets it wait until the credential of this start has expired (two minutes by default): no tight
 * loop. The prolog answers 0: anything else drains the node and holds the job.
 */
export async function sendBack(
  request: JobRequest,
  reason: string,
  { runDir, here, run, signal }: Refusing,
): Promise<HookAnswer> {
  await writeRefusal(runDir, request.key, reason);
  try {
    const record = await askJob(request.key, here, signal, run);
    if (!record || isOver(record)) return { exitCode: 0 };
    await note(record, `${here[0]}: ${reason}`, run, signal);
    await run(['scontrol', 'requeue', record.taskName], signal);
    return { exitCode: 0 };
  } catch (error) {
    return { exitCode: 0, stderr: `caddis: not requeued: ${messageOf(error)}\n` };
  }
}

/** While it is still seen as running: afterwards slurmctld is busy with its end. A comment that cannot be read or written keeps no job here. */
async function note(record: JobRecord, reason: string, run: RunCommand, signal: AbortSignal): Promise<void> {
  if (record.adminComment === undefined) return;
  const comment = withReason(record.adminComment, reason);
  await run(['scontrol', 'update', `jobid=${record.taskName}`, `AdminComment=${comment}`], signal).catch(
    () => undefined,
  );
}

/** In our own word of job_submit.lua (`[caddis: lent --mem=300M]`); the last reason is the one that counts, and what a site wrote stays. */
export function withReason(comment: string, reason: string): string {
  const lent = OURS.exec(comment)?.[1]?.trim() ?? 'lent';
  const kept = comment.replace(OURS, '').trim();
  const text = reason.replace(/[[\];\s]+/g, ' ').slice(0, REASON_MAX);
  return `${kept} [caddis: ${lent}; sent back by ${text}]`.trim();
}
