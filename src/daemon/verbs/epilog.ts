import { messageOf } from '../../model/errors.ts';
import type { HookCall } from '../../model/job.ts';
import type { HookAnswer, Scheduler } from '../../scheduler/scheduler.ts';
import { accountFor } from '../accounting/end-of-run.ts';
import type { Job } from '../job.ts';
import { putBack } from '../moving/kept-output.ts';
import { whyNotSaved } from '../moving/why-not-saved.ts';
import type { Node } from '../node.ts';

/** Ends the job's machines on this node: all incarnations, since this node holds no other copy that anybody wants. Always answers 0: a failing epilog drains the node. */
export async function epilog(node: Node, scheduler: Scheduler, call: HookCall): Promise<HookAnswer> {
  const { key, requeued } = scheduler.readEpilog(
    call,
    (key) => node.jobs.current(key)?.facts.request.restartCount,
  );
  const jobs = node.jobs.ofKey(key);
  await Promise.all(
    jobs.map(async (job) => {
      await accountFor(node, job, { requeued });
      if (requeued && wantsToRunAgain(job)) job.putBackByItselfMs = performance.now();
      const work = job.dispatch({
        type: 'epilog',
        requeued: requeued && whyNotSaved(node, job) === undefined,
      });
      // A save may take long: a node that waits in an epilog starts no other job (facts/slurm.md).
      if (job.state.phase === 'saving') work.catch((error: unknown) => job.log.error(messageOf(error)));
      else await work;
      await putBack(job);
      job.log.debug('epilog done');
    }),
  );
  return { exitCode: 0 };
}

/** Its script has ended, and has said so with its exit status: what is left of the machine is no state to go on from. */
function wantsToRunAgain({ scheduler: { rerunExitStatus }, resources: { guest } }: Job): boolean {
  const exit = guest?.mainExit;
  return rerunExitStatus !== undefined && exit?.kind === 'exited' && exit.code === rerunExitStatus;
}
