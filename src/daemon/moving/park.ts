import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

import type { JobEvent } from '../../jobs/transitions.ts';
import type { Domain } from '../../libvirt/index.ts';
import { messageOf } from '../../model/errors.ts';
import { IN_STORE, transferAddress } from '../../vm/network/addresses.ts';
import { denyPort } from '../../vm/network/anti-spoof.ts';
import { peerUri } from '../../vm/peer.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { startAgain } from './binding.ts';
import { noteParking } from './intents.ts';

/** How often a parked machine is looked at. */
const LOOK_EVERY_MS = 1_000;
/** Whoever took the job over begins to pull within this time, or goes on from the file. */
const FETCH_WITHIN_MS = 10_000;
/** Bound on a pull: the one that restores a machine from the store. */
const FETCH_MOST_MS = 30 * 60_000;

/**
 * Leaves a saved machine where it is, standing still, for the job's next start: on this host that one thaws it, on another it pulls it from libvirt to libvirt. From here on it never runs
 * under this claim; what gives way first is this machine, since the store has all of it.
 */
export async function park(node: Node, job: Job): Promise<JobEvent | undefined> {
  const { checkpoints, config } = node.context;
  const seconds = checkpoints?.settings.park ?? 0;
  try {
    // One that gave its memory back before is in the store alone; one that leaves for its memory's sake keeps none.
    if (job.givesBack || !checkpoints || seconds === 0 || job.savedAs === undefined || !job.resources.domain)
      return { type: 'park-over' };
    job.resources.guest?.close();
    delete job.resources.guest;
    await leaveAddress(node, job);
    await makeReadyToLeave(node, job, job.resources.domain);
    await checkpoints.custody.park(job, {
      generation: job.savedAs,
      uri: peerUri(config.libvirt.peer_uri, hostname()),
    });
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

/**
 * Its guest runs for an instant, which nobody hears of: its address is denied, its links are closed, its steps' clients are gone. So the checkpoint stays as good as the machine, and the job
 * may go on from either, though not from both.
 */
async function makeReadyToLeave({ context, config }: Node, job: Job, domain: Domain): Promise<void> {
  await noteParking(config.state_dir, job.machine);
  const begun = performance.now();
  await context.hypervisor.stir(domain);
  job.log.debug('fit to be handed over', { ms: Math.round(performance.now() - begun) });
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
  const begun = performance.now();
  let takenMs: number | undefined;
  for (;;) {
    await sleep(LOOK_EVERY_MS, undefined, { ref: false });
    if (job.state.phase !== 'parked') return;
    const now = performance.now();
    const free = takenMs === undefined && (await isStillParked(node, job));
    if (free && now - begun < parkMs) continue;
    if (free) break;
    takenMs ??= now;
    const limitMs = (await isLeaving(node, job)) ? FETCH_MOST_MS : FETCH_WITHIN_MS;
    if (now - takenMs > limitMs) break;
  }
  job.log.info('nobody has taken the parked machine: ending it');
  await job.dispatch({ type: 'park-over' });
}

/** A store that is away is away for the others too. */
async function isStillParked({ context }: Node, job: Job): Promise<boolean> {
  return (await context.checkpoints?.custody.isStillParked(job).catch(() => true)) ?? false;
}

async function isLeaving({ context }: Node, job: Job): Promise<boolean> {
  const { domain } = job.resources;
  return domain !== undefined && (await context.hypervisor.isBusy(domain).catch(() => false));
}
