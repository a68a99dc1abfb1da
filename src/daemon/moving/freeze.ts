import type { JobEvent } from '../../jobs/transitions.ts';
import { CaddisError, messageOf } from '../../model/errors.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { withdraw } from './release.ts';
import { stopMachine } from './stand-still.ts';
import { giveTimeBack } from './time-limit.ts';
import { whyNotSaved } from './why-not-saved.ts';

/** The scheduler is asked within this time; a cancelled job has its KillWait (30 s by default) for its own clean-up. */
const ASK_TIMEOUT_MS = 10_000;

/** Stops all vCPUs of a job: nothing of it runs, nothing is lost. */
export async function freeze(node: Node, job: Job): Promise<void> {
  const begun = performance.now();
  job.resources.guest?.asleep();
  await stopMachine(node, job, domainOf(job));
  job.frozenSinceMs ??= begun;
  job.log.info('frozen', { ms: Math.round(performance.now() - begun) });
}

/** Lets a job go on. Its guest's clock has stood still: it is set as soon as the guest can read it. */
export async function thaw(node: Node, job: Job, owed: boolean): Promise<void> {
  await withdraw(node, job);
  job.resources.guest?.awaking();
  await node.context.hypervisor.resume(domainOf(job));
  job.resources.guest?.awake();
  const frozenMs = job.frozenSinceMs === undefined ? 0 : performance.now() - job.frozenSinceMs;
  job.frozenSinceMs = undefined;
  job.frozenMs += frozenMs;
  if (owed) void giveTimeBack(node, job, frozenMs);
  job.log.info('thawed', { frozen_ms: Math.round(frozenMs) });
}

/**
 * Asks what a signal meant. Without an answer the signal is delivered, as it would be without Caddis: a silent controller costs no job. A requeue that cannot be saved (no store)
 * is a cancel for the processes, as natively.
 */
export async function ask(node: Node, job: Job, number: number): Promise<JobEvent> {
  const begun = performance.now();
  try {
    const verdict = await job.scheduler.meaning(job.request, number, AbortSignal.timeout(ASK_TIMEOUT_MS));
    job.log.info(`the scheduler says: ${verdict}`, { ms: Math.round(performance.now() - begun) });
    const obstacle = verdict === 'requeued' ? whyNotSaved(node, job) : undefined;
    if (obstacle === undefined) return { type: 'answered', verdict };
    job.log.warn(`requeued without its state: ${obstacle}`);
  } catch (error) {
    job.log.warn(`the scheduler did not say what a signal means: ${messageOf(error)}; it is delivered`);
  }
  return { type: 'answered', verdict: 'deliver' };
}

function domainOf(job: Job) {
  const { domain } = job.resources;
  if (!domain) throw new CaddisError('the job has no machine any more');
  return domain;
}
