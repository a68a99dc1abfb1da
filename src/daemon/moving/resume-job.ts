import { setTimeout as sleep } from 'node:timers/promises';

import { isCheckpointRefused } from '../../checkpoint/errors.ts';
import type { Generation } from '../../checkpoint/generation.ts';
import type { Manifest } from '../../checkpoint/manifest-schema.ts';
import { CaddisError, messageOf, NodeUnfit } from '../../model/errors.ts';
import type { JobRequest } from '../../model/job.ts';
import { formatBytes } from '../../model/units.ts';
import { isMachineGone } from '../../vm/hypervisor.ts';
import type { Job, JobResources } from '../job.ts';
import { countAsRaised } from '../pressure/grown-size.ts';
import type { NodeContext } from '../start-machine.ts';
import { type Checkpoints, targetOf } from './checkpoints.ts';
import type { ParkedElsewhere } from './custody.ts';
import { keepOutput, keptBefore } from './kept-output.ts';
import { factsOf, letRun, restoreMachine, thawMachine, wakeMachine } from './restore-machine.ts';

const FINISH_TIMEOUT_MS = 5 * 60_000;
/** Taken when the machine was about to end: nothing of it ran afterwards. */
const LAST_WORDS = new Set(['requeue', 'migrate', 'suspend']);

/** Whether the machine had left its host for good when it was saved. */
export function isLastWord({ reason }: Manifest): boolean {
  return reason === 'requeue' || reason === 'migrate';
}

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

/** More is met by growing the machine; of what a running system has nothing can be taken away. Throws AsksTooLittle; a controller that gives no answer lets the job go on as it was. */
async function demandEnough(job: Job, generation: Generation, signal: AbortSignal): Promise<void> {
  const { cpus } = job.request;
  const needed = neededSize(generation);
  if (cpus !== undefined && cpus < needed.cpus)
    throw new AsksTooLittle(
      `this job's saved machine has ${needed.cpus} CPUs, and it asks for ${cpus} now: ask for as many again, or cancel it`,
    );
  // One question for each start: a job that runs in slack was asked about before it was granted that.
  const asked = job.asked
    ? job.request
    : await job.scheduler
        .complete({ ...job.request, memoryBytes: undefined }, { jitterMs: 0, signal })
        .catch(() => undefined);
  if (asked?.memoryBytes === undefined) return;
  Object.assign(job.facts.request, { memoryBytes: asked.memoryBytes, memorySource: asked.memorySource });
  if (asked.memoryBytes >= needed.memoryBytes) return;
  throw new AsksTooLittle(
    `this job's saved machine has ${formatBytes(needed.memoryBytes)}, and it asks for ${formatBytes(asked.memoryBytes)} now: ask for as much again, or cancel it`,
  );
}

/** What must be asked for again: a machine that was grown beyond it has the rest where there is room for it, as before. */
function neededSize(generation: Generation): { memoryBytes: number; cpus: number } {
  const { growth, request } = factsOf(generation);
  const { memoryBytes, cpus } = generation.manifest.sizes;
  return {
    memoryBytes:
      growth?.memoryBytes === undefined ? memoryBytes : Math.min(request.memoryBytes ?? 0, memoryBytes),
    cpus: growth?.cpus === undefined ? cpus : Math.min(request.cpus ?? 1, cpus),
  };
}

/** What the job's last run has left of its machine, beside the checkpoint: on this node, or on another. */
export interface Left {
  readonly here: JobResources | undefined;
  readonly elsewhere: ParkedElsewhere | undefined;
}

/**
 * Restores a job's machine and lets it go on. Throws CheckpointRefused when the images are not what was saved: then the next older one may serve.
 */
export async function goOn(
  context: NodeContext,
  checkpoints: Checkpoints,
  job: Job,
  generation: Generation,
  left: Left,
  signal: AbortSignal,
): Promise<void> {
  const { manifest } = generation;
  job.log.info(
    `going on from checkpoint ${generation.number}, taken on ${manifest.host} at ${manifest.takenAt}`,
  );
  await demandEnough(job, generation, signal);
  countAsRaised(job.facts);
  const rolledBack = await hasRunOn(checkpoints, generation);
  // The file servers must have forgotten the machine as it was last: within its lease they would take it for that one, gone mad.
  const patience = rolledBack ? sleep(context.config.storage.lease * 1000, undefined, { signal }) : undefined;
  // Heard below, unless something else goes wrong before.
  patience?.catch(() => undefined);
  if (left.here) await thawMachine(context, job, generation, left.here);
  else await restoreMachine(context, checkpoints, job, generation, { parked: left.elsewhere, signal });
  // Before the scheduler opens the output files of the new run.
  job.kept = await keepOutput(job, manifest.sessions);
  job.cameWith = manifest.sessions;
  job.facts.restoredFrom = generation.number;
  await noteWaking(context, job, rolledBack);
  await patience;
  await wakeMachine(context, job, manifest, {
    dropCaches: rolledBack,
    signal,
    run: usingUp(checkpoints, generation),
  });
}

/** Around the moment when a machine begins to run: from then on its checkpoint does not count any more, unless the machine was gone by then. */
function usingUp(
  { store }: Checkpoints,
  generation: Generation,
): (run: () => Promise<void>) => Promise<void> {
  return async (run) => {
    await store.markResumed(generation);
    try {
      await run();
    } catch (error) {
      if (isMachineGone(error)) await store.unmarkResumed(generation);
      throw error;
    }
  };
}

/**
 * From here on the machine itself, and no longer its checkpoint, is what the job goes on from: a caddisd that finds it, in whatever state, lets it run.
 */
async function noteWaking({ hypervisor }: NodeContext, job: Job, dropCaches: boolean): Promise<void> {
  const { domain } = job.resources;
  if (!domain) throw new NodeUnfit('the restored machine is gone', { wholeNode: false });
  Object.assign(job.facts, { ready: true, waking: { dropCaches } });
  await hypervisor.setFacts(domain, job.facts);
}

/** What an earlier caddisd had begun: `came` is the checkpoint that the machine was made of. Steps that come meanwhile wait for the guest. */
export async function finishWaking(
  context: NodeContext,
  checkpoints: Checkpoints,
  job: Job,
  came: Generation,
): Promise<void> {
  const { waking } = job.facts;
  const { domain } = job.resources;
  if (!waking || !domain) return;
  const signal = AbortSignal.timeout(FINISH_TIMEOUT_MS);
  job.resources.guest?.asleep();
  if (waking.dropCaches) await sleep(context.config.storage.lease * 1000, undefined, { signal });
  await letRun(context, job, { dropCaches: waking.dropCaches, signal, run: usingUp(checkpoints, came) });
  delete job.facts.waking;
  await context.hypervisor.setFacts(domain, job.facts);
  job.log.info(`goes on from checkpoint ${came.number}, as caddisd was about to have it when it stopped`);
}

/**
 * What a caddisd that takes over a restored machine has to know: which steps and commands came with it, since some may not have been claimed by their new clients yet. Those
 * that were find their sessions all the same.
 */
export async function cameWith(checkpoints: Checkpoints, job: Job): Promise<Generation | undefined> {
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
  return found;
}

/** True when another checkpoint, or a fresh start, may still serve the job. */
export function isRefusedCheckpoint(error: unknown, say: (text: string) => void): boolean {
  if (!isCheckpointRefused(error)) return false;
  say(`checkpoint refused: ${messageOf(error)}`);
  return true;
}
