import { setTimeout as sleep } from 'node:timers/promises';

import { isCheckpointRefused } from '../../checkpoint/errors.ts';
import type { Generation } from '../../checkpoint/generation.ts';
import type { Manifest } from '../../checkpoint/manifest-schema.ts';
import { CaddisError, messageOf } from '../../model/errors.ts';
import type { JobRequest } from '../../model/job.ts';
import { formatBytes } from '../../model/units.ts';
import type { Job, JobResources } from '../job.ts';
import type { NodeContext } from '../start-machine.ts';
import { type Checkpoints, targetOf } from './checkpoints.ts';
import { keepOutput, keptBefore } from './kept-output.ts';
import { restoreMachine, thawMachine, wakeMachine } from './restore-machine.ts';

/** Taken when the machine was about to end: nothing of it ran afterwards. */
const LAST_WORDS = new Set(['requeue', 'migrate', 'suspend']);

/**
 * The checkpoint that a job which starts again goes on from, if it has one; a job that starts for the first time has none of its own, and half a set of machines is never
 * restored. One after which the machine ran on serves only when the job stood still in it: else its processes would go on with what they have cached of files that have
 * changed since (facts/vm.md, "Measured in a second round").
 */
export async function newestCheckpoint(
  checkpoints: Checkpoints,
  request: JobRequest,
  refused: ReadonlySet<number>,
  say: (text: string) => void,
): Promise<Generation | undefined> {
  if (request.restartCount === 0 || request.hosts > 1) return undefined;
  const except = new Set(refused);
  for (;;) {
    const found = await checkpoints.store.newest(targetOf(request, checkpoints.identity), except);
    for (const { number, why } of found.refused)
      if (!except.has(number)) say(`checkpoint ${number} is passed over: ${why}`);
    const { generation } = found;
    if (!generation || generation.manifest.settled || !(await hasRunOn(checkpoints, generation)))
      return generation;
    say(`checkpoint ${generation.number} is passed over: its machine ran on after it was taken`);
    except.add(generation.number);
  }
}

/** Whether the machine of a checkpoint ran after it was taken. */
async function hasRunOn({ store }: Checkpoints, generation: Generation): Promise<boolean> {
  return !LAST_WORDS.has(generation.manifest.reason) || (await store.wasResumed(generation));
}

/** The job asks for less than its saved machine has: nobody but its user can say what is to become of it. */
export class AsksTooLittle extends CaddisError {
  override name = 'AsksTooLittle';
}

/** More is met by growing the machine. Throws AsksTooLittle; a controller that gives no answer lets the job go on as it was. */
async function demandEnough(job: Job, { manifest }: Generation, signal: AbortSignal): Promise<void> {
  // One question for each start: a job that runs in slack was asked about before it was granted that.
  const asked = job.asked
    ? job.request
    : await job.scheduler
        .complete({ ...job.request, memoryBytes: undefined }, { jitterMs: 0, signal })
        .catch(() => undefined);
  if (asked?.memoryBytes === undefined) return;
  Object.assign(job.facts.request, { memoryBytes: asked.memoryBytes, memorySource: asked.memorySource });
  if (asked.memoryBytes >= manifest.sizes.memoryBytes) return;
  throw new AsksTooLittle(
    `this job's saved machine has ${formatBytes(manifest.sizes.memoryBytes)}, and it asks for ${formatBytes(asked.memoryBytes)} now: ask for as much again, or cancel it`,
  );
}

/**
 * Restores a job's machine, or takes the one that is parked here, and lets it go on. Throws CheckpointRefused when the images are not what was saved: then the next older one may serve.
 */
export async function goOn(
  context: NodeContext,
  checkpoints: Checkpoints,
  job: Job,
  generation: Generation,
  parked: JobResources | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { manifest } = generation;
  job.log.info(
    `going on from checkpoint ${generation.number}, taken on ${manifest.host} at ${manifest.takenAt}`,
  );
  await demandEnough(job, generation, signal);
  const rolledBack = await hasRunOn(checkpoints, generation);
  // The file servers must have forgotten the machine as it was last: within its lease they would take it for that one, gone mad.
  const patience = rolledBack ? sleep(context.config.storage.lease * 1000, undefined, { signal }) : undefined;
  // Heard below, unless something else goes wrong before.
  patience?.catch(() => undefined);
  if (parked) await thawMachine(context, job, generation, parked);
  else await restoreMachine(context, checkpoints, job, generation, { signal });
  // Before the scheduler opens the output files of the new run.
  job.kept = await keepOutput(job, manifest.sessions);
  job.cameWith = manifest.sessions;
  job.facts.restoredFrom = generation.number;
  await checkpoints.store.markResumed(generation);
  await patience;
  await wakeMachine(context, job, manifest, { dropCaches: rolledBack, signal });
}

/**
 * What a caddisd that takes over a restored machine has to know: which steps and commands came with it, since some may not have been claimed by their new clients yet. Those
 * that were find their sessions all the same.
 */
export async function cameWith(checkpoints: Checkpoints, job: Job): Promise<Manifest | undefined> {
  const { restoredFrom } = job.facts;
  if (restoredFrom === undefined) return undefined;
  const generations = await checkpoints.store.generations(job.key);
  const found = generations.find(({ number }) => number === restoredFrom);
  if (found?.state !== 'complete') {
    job.log.warn(`checkpoint ${restoredFrom} is gone: steps that have no client yet are lost`);
    return undefined;
  }
  job.bootPath = 'restore';
  job.cameWith = found.manifest.sessions;
  job.kept = keptBefore(job, found.manifest.sessions);
  return found.manifest;
}

/** True when another checkpoint, or a fresh start, may still serve the job. */
export function isRefusedCheckpoint(error: unknown, say: (text: string) => void): boolean {
  if (!isCheckpointRefused(error)) return false;
  say(`checkpoint refused: ${messageOf(error)}`);
  return true;
}
