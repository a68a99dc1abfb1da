import { messageOf } from '../../model/errors.ts';
import type { HookCall } from '../../model/job.ts';
import type { HookAnswer, Scheduler } from '../../scheduler/scheduler.ts';
import type { Job } from '../job.ts';
import { whyAfresh } from '../moving/freeze.ts';
import type { Node } from '../node.ts';
import { grow } from '../start-machine.ts';

/**
 * What slurmstepd knows and the prolog did not: memory and CPUs. Sent before the first task of every step; the machine grows once. A failure fails the step: without
 * this the job would run in a machine of the wrong size.
 */
export async function facts(
  node: Node,
  scheduler: Scheduler,
  call: HookCall,
  signal: AbortSignal,
): Promise<HookAnswer> {
  const said = scheduler.readFacts(call);
  const job = node.jobs.current(said.key);
  if (!job) return { exitCode: 0 };
  const news = whyAfresh(node, job.request);
  try {
    await job.exclusive(async () => {
      const wanted = {
        cpus: larger(said.cpus, job.sizes.cpus),
        memoryBytes: larger(said.memoryBytes, job.sizes.memoryBytes),
      };
      if (wanted.cpus === undefined && wanted.memoryBytes === undefined) return;
      await grow(node.context, job, wanted, signal);
      await remember(node, job);
    });
    return { exitCode: 0, ...(news === undefined ? {} : { stderr: `${news}\n` }) };
  } catch (error) {
    const reason = messageOf(error);
    job.log.error(`could not be grown: ${reason}`);
    await job.dispatch({ type: 'machine-lost', reason });
    return { exitCode: 1, stderr: `caddis: ${reason}\n` };
  }
}

/** A caddisd that is restarted must know the size that the machine has now. */
async function remember({ context }: Node, job: Job): Promise<void> {
  const { domain } = job.resources;
  const { cpus, memoryBytes } = job.sizes;
  Object.assign(job.facts.request, { cpus, memoryBytes });
  if (domain) await context.hypervisor.setFacts(domain, job.facts);
}

/** The larger value if it is news, else undefined. */
function larger(said: number | undefined, now: number | undefined): number | undefined {
  return said !== undefined && (now === undefined || said > now) ? said : undefined;
}
