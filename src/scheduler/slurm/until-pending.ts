import { setTimeout as delay } from 'node:timers/promises';

import { CaddisError } from '../../model/errors.ts';
import type { JobKey } from '../../model/job.ts';
import type { RunCommand } from '../run-program.ts';
import { askJob } from './complete.ts';
import type { JobRecord } from './job-record.ts';

/** slurmctld mostly closes its books within two seconds; after that it is not asked more than once a second. */
const QUICK_LOOKS = 8;
const QUICK_MS = 250;
const SLOW_MS = 1_000;

/** What slurmctld says of a task once it waits. Throws CaddisError when it will not, SchedulerUnavailable; waits until `signal` aborts. */
export async function untilPending(
  key: JobKey,
  here: readonly string[],
  signal: AbortSignal,
  run: RunCommand,
): Promise<JobRecord> {
  for (let look = 0; ; look++) {
    const record = await askJob(key, here, signal, run);
    if (record?.state === 'PENDING') return record;
    // Still on its node: requeued, and not let go yet.
    if (record === undefined || /^(COMPLETED|CANCELLED|FAILED|TIMEOUT)/.test(record.state))
      throw new CaddisError(
        `job ${key.jobId} does not go back to the queue: it is ${record?.state ?? 'gone'}`,
      );
    await delay(look < QUICK_LOOKS ? QUICK_MS : SLOW_MS, undefined, { signal });
  }
}
