import type { HookCall, JobKey } from '../../model/job.ts';
import { readKey } from './job-key.ts';

/** Exit status of a job by which it asks to be run again (sge_conf(5), FORBID_RESCHEDULE). */
const EXIT_RESCHEDULE = '99';

/** Which job is over, and whether Grid Engine will run it again. After `qmod -rj` the epilog is not told: there the new start tells. */
export function readEpilog(call: HookCall): { readonly key: JobKey; readonly requeued: boolean } {
  return { key: readKey(call.env), requeued: call.env.SGE_JOBEXIT_STAT === EXIT_RESCHEDULE };
}
