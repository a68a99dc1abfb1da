import { setTimeout as delay } from 'node:timers/promises';

import type { JobKey } from '../../model/job.ts';
import type { RunCommand } from '../run-program.ts';
import { askJob } from './complete.ts';

/** When slurmctld has closed its books on the run that ended: mostly within a second of the epilog. */
const LOOK_AFTER_MS = [700, 1_500, 3_000, 6_000];

/**
 * Lets a requeued job start as soon as a node is free for it. slurmctld makes it wait until the credential of its last run has expired (120 s by default), for the sake of
 * nodes that may not have heard of its end; here the store's claim sees to that. A job that waits for anything else (held, dependency, its own --begin) is left alone.
 */
export async function beginAgain(
  key: JobKey,
  here: readonly string[],
  signal: AbortSignal,
  run: RunCommand,
): Promise<void> {
  for (const afterMs of LOOK_AFTER_MS) {
    await delay(afterMs, undefined, { signal });
    const record = await askJob(key, here, signal, run);
    if (record?.state === 'COMPLETING') continue;
    if (record?.state !== 'PENDING' || record.reason !== 'BeginTime') return;
    await run(['scontrol', 'update', `jobid=${record.taskName}`, 'StartTime=now'], signal);
    return;
  }
}
