import type { HookCall } from '../../model/job.ts';
import type { HookAnswer, Scheduler } from '../../scheduler/scheduler.ts';
import type { Node } from '../node.ts';

/** Ends the job's machines on this node: all incarnations, since this node holds no other copy that anybody wants. Always answers 0: a failing epilog drains the node. */
export async function epilog(node: Node, scheduler: Scheduler, call: HookCall): Promise<HookAnswer> {
  const { key } = scheduler.readEpilog(call);
  const jobs = node.jobs.ofKey(key);
  await Promise.all(
    jobs.map(async (job) => {
      await job.dispatch({ type: 'epilog' });
      job.log.debug('epilog done');
    }),
  );
  return { exitCode: 0 };
}
