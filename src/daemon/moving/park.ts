import { setTimeout as sleep } from 'node:timers/promises';

import type { JobEvent } from '../../jobs/transitions.ts';
import { messageOf } from '../../model/errors.ts';
import { IN_STORE, transferAddress } from '../../vm/network/addresses.ts';
import { denyPort } from '../../vm/network/anti-spoof.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { startAgain } from './binding.ts';

/** How often a parked machine is looked at. */
const LOOK_EVERY_MS = 1_000;

/**
 * Leaves a saved machine where it is, standing still, for the job's next start: on this host that one thaws it. From here on it never runs
 * under this claim; what gives way first is this machine, since the store has all of it.
 */
export async function park(node: Node, job: Job): Promise<JobEvent | undefined> {
  const { checkpoints } = node.context;
  const seconds = checkpoints?.settings.park ?? 0;
  try {
    // One that gave its memory back before is in the store alone; one that leaves for its memory's sake keeps none.
    if (job.givesBack || !checkpoints || seconds === 0 || job.savedAs === undefined || !job.resources.domain)
      return { type: 'park-over' };
    job.resources.guest?.close();
    delete job.resources.guest;
    await leaveAddress(node, job);
    await checkpoints.custody.park(job, { generation: job.savedAs });
    job.log.info(`parked for ${seconds} s`);
    void untilOver(node, job, seconds * 1000).catch((error: unknown) => job.log.error(messageOf(error)));
    return undefined;
  } catch (error) {
    job.log.warn(`not parked: ${messageOf(error)}`);
    return { type: 'park-over' };
  } finally {
    startAgain(node, job);
  }
}

/** The address belongs to whoever goes on with the job. */
async function leaveAddress({ context }: Node, job: Job): Promise<void> {
  const { address } = job.resources;
  const { mac, tap } = job.facts;
  if (address === undefined || mac === undefined || tap === undefined) return;
  await denyPort({ tap, mac, address });
  await transferAddress(context.config.network.claims_dir, address, job.machine, IN_STORE);
  delete job.resources.address;
}

async function untilOver(node: Node, job: Job, parkMs: number): Promise<void> {
  const deadline = performance.now() + parkMs;
  do {
    await sleep(LOOK_EVERY_MS, undefined, { ref: false });
    if (job.state.phase !== 'parked') return;
  } while (performance.now() < deadline && (await isStillParked(node, job)));
  job.log.info('the parked machine is not needed here any more: ending it');
  await job.dispatch({ type: 'park-over' });
}

/** A store that is away is away for the others too. */
async function isStillParked({ context }: Node, job: Job): Promise<boolean> {
  return (await context.checkpoints?.custody.isStillParked(job).catch(() => true)) ?? false;
}
