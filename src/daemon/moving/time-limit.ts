import { decideBridge, minutesBeyondCap, minutesOwed } from '../../jobs/time-limit.ts';
import { messageOf } from '../../model/errors.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { sendBack } from './release.ts';
import { whyNotSaved } from './why-not-saved.ts';

const ASK_TIMEOUT_MS = 10_000;
/** After a controller that gave no answer. */
const AGAIN_AFTER_MS = 5_000;
/** Phases in which a job has a time limit ahead of it. */
const RUNS = new Set(['ready', 'running', 'frozen', 'releasing', 'released', 'restoring']);

/** Saves a job shortly before its time limit and has it go on under the same id, until it has run for as long as the site allows in all (time_limit in caddis.toml). */
export function bridgeTimeLimit(node: Node, job: Job): void {
  const { bridge, cap = 0 } = node.config.time_limit;
  if (!bridge || !job.request.requeueable || whyNotSaved(node, job) !== undefined) return;
  let isShortened = false;
  const look = async (): Promise<number | undefined> => {
    if (!RUNS.has(job.state.phase)) return undefined;
    const left = await job.scheduler.timeLeft(
      job.request,
      Date.parse(job.facts.startedAt),
      AbortSignal.timeout(ASK_TIMEOUT_MS),
    );
    if (!left) return undefined;
    if (!isShortened) await shorten(job, left.leftMs, cap * 1000);
    isShortened = true;
    const decision = decideBridge({
      ...left,
      ranMs: job.ranMs,
      capMs: cap * 1000,
      beforeMs: node.config.time_limit.before * 1000,
      canShorten: job.scheduler.changeLimit !== undefined,
    });
    switch (decision.do) {
      case 'wait':
        return decision.ms;
      case 'let-end':
        job.log.info('it has run for as long as it may in all (time_limit.cap): its time limit ends it');
        return undefined;
      case 'bridge': {
        const next = await sendBack(job, 'its time limit comes (time_limit.bridge)');
        if (next?.type === 'move') await job.dispatch(next);
        else if (next) job.log.warn('it could not be requeued: its time limit ends it');
        return undefined;
      }
    }
  };
  const schedule = (ms: number) => setTimeout(() => void again(), ms).unref();
  const again = () =>
    look().then(
      (ms) => ms !== undefined && schedule(ms),
      (error: unknown) => {
        job.log.warn(`its time limit is not known: ${messageOf(error)}`);
        schedule(AGAIN_AFTER_MS);
      },
    );
  schedule(AGAIN_AFTER_MS);
}

/** A job that stood still for others is given that time, where its scheduler allows it. */
export async function giveTimeBack(node: Node, job: Job, stoodStillMs: number): Promise<void> {
  if (!node.config.time_limit.extend_for_frozen || !job.scheduler.changeLimit) return;
  const { minutes, owedMs } = minutesOwed(job.owedMs + stoodStillMs);
  job.owedMs = owedMs;
  if (minutes === 0) return;
  await job.scheduler
    .changeLimit(job.request, minutes, AbortSignal.timeout(ASK_TIMEOUT_MS))
    .then(() => job.log.info(`its time limit is extended by ${minutes} min`))
    .catch((error: unknown) => job.log.warn(`its time limit stays as it is: ${messageOf(error)}`));
}

/** The last run ends at the cap. */
async function shorten(job: Job, leftMs: number, capMs: number): Promise<void> {
  const minutes = minutesBeyondCap(leftMs, job.ranMs, capMs);
  if (minutes === 0 || !job.scheduler.changeLimit) return;
  await job.scheduler.changeLimit(job.request, -minutes, AbortSignal.timeout(ASK_TIMEOUT_MS));
  job.log.info(`its time limit is ${minutes} min shorter: the rest of what it may run in all`);
}
