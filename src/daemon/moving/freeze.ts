import type { JobEvent } from '../../jobs/transitions.ts';
import { CaddisError, messageOf } from '../../model/errors.ts';
import type { JobRequest } from '../../model/job.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { withdraw } from './release.ts';
import { stopMachine } from './stand-still.ts';
import { giveTimeBack } from './time-limit.ts';

/** The scheduler is asked within this time; a cancelled job has its KillWait (30 s by default) for its own clean-up. */
const ASK_TIMEOUT_MS = 10_000;
/** Within this time slurmctld has the steps of a job that is put back end: KillWait (30 s by default) and an epilog. One that refused is forgotten then. */
const PUT_BACK_MS = 120_000;

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

/**
 * Why a job starts afresh when it is requeued, if so. Machines of a job on several hosts are not saved as one set yet, and half a set is never restored.
 */
export function whyNotSaved(node: Node, job: Job): string | undefined {
  if (!node.context.checkpoints) return 'there is no store (checkpoint.dir in caddis.toml)';
  if (isPutBackByItself(job)) return 'its own script has put it back, to run again from its beginning';
  const { hosts } = job.facts.request;
  return hosts > 1 ? `it runs on ${hosts} hosts, whose machines cannot be saved as one yet` : undefined;
}

/** Whether a requeue that comes now is what the job's own script has asked for. */
export function isPutBackByItself({ putBackByItselfMs }: Job): boolean {
  return putBackByItselfMs !== undefined && performance.now() - putBackByItselfMs < PUT_BACK_MS;
}

/** What the user of a job that starts again without its state is told in its output. */
export function whyAfresh(node: Node, { restartCount, hosts }: JobRequest): string | undefined {
  if (!node.context.checkpoints || restartCount === 0 || hosts === 1) return undefined;
  return `caddis: this job starts afresh: it runs on ${hosts} hosts, whose machines cannot be saved as one`;
}

function domainOf(job: Job) {
  const { domain } = job.resources;
  if (!domain) throw new CaddisError('the job has no machine any more');
  return domain;
}
