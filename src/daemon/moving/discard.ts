import { isCheckpointRefused } from '../../checkpoint/errors.ts';
import { messageOf } from '../../model/errors.ts';
import { formatKey, type JobKey } from '../../model/job.ts';
import type { Scheduler } from '../../scheduler/scheduler.ts';
import { machineFacts } from '../../vm/metadata.ts';
import { IN_STORE, releaseAddress } from '../../vm/network/addresses.ts';
import type { Node } from '../node.ts';
import type { Checkpoints } from './checkpoints.ts';

const ASK_TIMEOUT_MS = 10_000;

/**
 * Removes what the store has of a job that its scheduler will not run again: cancel means cancel, and a job that is done needs no way back. When the scheduler gives no answer, or
 * still wants the job, all of it stays. Returns whether it was removed.
 */
export async function discard(
  node: Node,
  checkpoints: Checkpoints,
  key: JobKey,
  scheduler: Scheduler,
): Promise<boolean> {
  if ((await scheduler.isWanted(key, AbortSignal.timeout(ASK_TIMEOUT_MS))) !== false) return false;
  // A rerun that has begun here meanwhile is asked about at its own end.
  if (node.jobs.ofKey(key).some(({ state }) => state.phase !== 'ended')) return false;
  await releaseAddresses(node, checkpoints, key);
  if (await checkpoints.store.removeJob(key))
    node.log.info(`${formatKey(key)} is over: its checkpoints are removed`);
  return true;
}

/** Gives back the addresses that a job's saved machines keep. */
export async function releaseAddresses({ config }: Node, { store }: Checkpoints, key: JobKey): Promise<void> {
  for (const generation of await store.generations(key)) {
    if (generation.state !== 'complete') continue;
    const facts = machineFacts.safeParse(generation.manifest.facts);
    const { address, machine } = facts.success ? facts.data : { address: undefined, machine: '' };
    if (address !== undefined)
      await releaseAddress(config.network.claims_dir, address, { host: IN_STORE, machine });
  }
}

/** For all jobs that this node ran last: what crashes, and epilogs without a caddisd, have left, and jobs that were cancelled while they waited. Others' are their nodes' (`tidyStore`). */
export async function discardForgotten(node: Node, checkpoints: Checkpoints): Promise<void> {
  for (const key of await checkpoints.store.jobs()) {
    const scheduler = node.schedulers.get(key.scheduler);
    if (!scheduler || node.jobs.ofKey(key).length > 0) continue;
    try {
      if (await checkpoints.custody.wasLastHere(key)) await discard(node, checkpoints, key, scheduler);
    } catch (error) {
      node.log.warn(`${formatKey(key)}: its checkpoints could not be looked at: ${messageOf(error)}`);
      // One that is damaged keeps nothing else from being looked at; a store that is away does.
      if (!isCheckpointRefused(error)) throw error;
    }
  }
}
