import { setTimeout as sleep } from 'node:timers/promises';

import { CaddisError, messageOf } from '../../model/errors.ts';
import { formatKey } from '../../model/job.ts';
import type { MigrationNews } from '../../model/status.ts';
import type { Job } from '../job.ts';
import { bindAsNoted, noteBinding } from '../moving/binding.ts';
import { noteMove } from '../moving/intents.ts';
import type { Node } from '../node.ts';
import { refuseUnsavable } from './refuse-unsavable.ts';

const REQUEUE_TIMEOUT_MS = 30_000;
/** How often the job, and its claim in the store, are looked at. */
const LOOK_EVERY_MS = 200;
/** How often its scheduler is asked whether it will still run. */
const ASK_EVERY_MS = 5_000;
const ASK_TIMEOUT_MS = 5_000;

/** What an admin asks for: the job goes back to the queue by its scheduler's own means, and its machine is saved on the way. `to`: the only host where it may go on. */
export async function migrate(node: Node, job: Job, to?: string): Promise<void> {
  refuseUnsavable(node, job);
  if (!job.request.requeueable)
    throw new CaddisError(
      'this job cannot be moved: it is interactive, or its user asked that it never runs twice',
    );
  const how = to === undefined ? await requeue(job) : await requeueTo(job, to);
  if (how !== 'by-exit') return;
  // Nobody could be asked about it: a caddisd that is killed from here on moves the machine all the same.
  await noteMove(node.config.state_dir, job.machine);
  // Its answer does not wait for the save.
  job.dispatch({ type: 'move' }).catch((error: unknown) => job.log.error(messageOf(error)));
}

function requeue({ scheduler, request }: Job): Promise<'by-signal' | 'by-exit'> {
  return scheduler.requeue(request, AbortSignal.timeout(REQUEUE_TIMEOUT_MS));
}

async function requeueTo(job: Job, host: string): Promise<'by-signal' | 'by-exit'> {
  const { placement } = job.scheduler;
  const before = job.facts.bound;
  const signal = AbortSignal.timeout(REQUEUE_TIMEOUT_MS);
  await placement.check(job.request, host, signal);
  await noteBinding(job, host, signal);
  try {
    if (placement.when === 'running') await bindAsNoted(job);
    // Taken for bound from here on: its save may begin before its scheduler takes the binding.
    else job.binding = Promise.resolve();
    const how = await requeue(job);
    if (placement.when === 'pending') await bindAsNoted(job);
    return how;
  } catch (error) {
    job.binding = undefined;
    if (before) job.facts.bound = before;
    else delete job.facts.bound;
    throw error;
  }
}

/** Tells how a job that was put back gets on, until it goes on under a later claim than `epoch`. Throws CaddisError when it does not within `waitMs`. */
export async function follow(
  node: Node,
  job: Job,
  {
    epoch,
    waitMs,
    signal,
    tell,
  }: { epoch: number; waitMs: number; signal: AbortSignal; tell: (news: MigrationNews) => void },
): Promise<void> {
  const { checkpoints } = node.context;
  if (!checkpoints) return;
  const begun = performance.now();
  let phase = '';
  let asked = begun;
  while (performance.now() - begun < waitMs) {
    signal.throwIfAborted();
    if (job.state.phase !== phase) {
      phase = job.state.phase;
      tell({ job: formatKey(job.key), state: phase });
    }
    const now = await checkpoints.custody.whereabouts(job.key);
    if (now && now.epoch > epoch && now.goesOn !== undefined) {
      const stoodMs = performance.now() - (job.leftSinceMs ?? begun);
      return tell({
        ...{ job: formatKey(job.key), state: 'goes-on', host: now.host, how: now.goesOn },
        stood_still_ms: Math.round(stoodMs),
      });
    }
    if (performance.now() - asked > ASK_EVERY_MS) {
      asked = performance.now();
      const wanted = await job.scheduler.isWanted(job.key, AbortSignal.timeout(ASK_TIMEOUT_MS));
      if (wanted === false)
        throw new CaddisError('its scheduler will not run this job again: was it cancelled?');
    }
    await sleep(LOOK_EVERY_MS, undefined, { signal });
  }
  throw new CaddisError(
    `the job has not gone on within ${Math.round(waitMs / 1000)} s; its scheduler says what it waits for, and nothing of it is lost`,
  );
}
