import { messageOf } from '../../model/errors.ts';
import { formatKey, type HookCall, type JobFacts } from '../../model/job.ts';
import type { HookAnswer, Scheduler } from '../../scheduler/scheduler.ts';
import type { Job } from '../job.ts';
import { grow, larger } from '../machine-size.ts';
import { whyAfresh } from '../moving/why-not-saved.ts';
import type { Node } from '../node.ts';
import { start } from './prolog.ts';

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
  // What its last run may have left here says nothing of this one.
  if (said.unheralded) return makeUp(node, scheduler, said, signal);
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
      await remember(node, job, wanted);
    });
    return { exitCode: 0, ...(news === undefined ? {} : { stderr: `${news}\n` }) };
  } catch (error) {
    // Nobody waits for the answer: the step was cancelled, or caddisd stops and its next asks again. The job's other steps go on.
    if (signal.aborted) throw error;
    const reason = messageOf(error);
    job.log.error(`could not be grown: ${reason}`);
    await job.dispatch({ type: 'machine-lost', reason });
    return { exitCode: 1, stderr: `caddis: ${reason}\n` };
  }
}

/**
 * No step of a job may run outside of a machine because its scheduler has forgotten the prolog. slurmstepd has opened no output file yet: whatever a prolog does is done in
 * time. Who asked looks for the machine, or the reason why there is none, when this is over.
 */
async function makeUp(
  node: Node,
  scheduler: Scheduler,
  { key, unheralded }: JobFacts,
  signal: AbortSignal,
): Promise<HookAnswer> {
  try {
    const request = unheralded && (await scheduler.withoutProlog?.(key, unheralded, signal));
    if (!request) return { exitCode: 0 };
    node.log.warn(`${formatKey(key)} was started again without its prolog: making up for it`);
    return await start(node, scheduler, request, signal);
  } catch (error) {
    node.log.error(`${formatKey(key)} was started again without its prolog: ${messageOf(error)}`);
    return { exitCode: 1, stderr: `caddis: ${messageOf(error)}\n` };
  }
}

/** A caddisd that is restarted must know the size that the machine has now. */
async function remember(
  { context }: Node,
  job: Job,
  said: { cpus: number | undefined; memoryBytes: number | undefined },
): Promise<void> {
  const { domain } = job.resources;
  // What was not said may have been grown: that is no request.
  if (said.cpus !== undefined) job.facts.request.cpus = job.sizes.cpus;
  if (said.memoryBytes !== undefined) job.facts.request.memoryBytes = job.sizes.memoryBytes;
  if (domain) await context.hypervisor.setFacts(domain, job.facts);
}
