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
import { runBriefly } from './stand-still.ts';

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
    await leaveAddress(node, job);
    const uri = peerUri(config.libvirt.peer_uri, hostname());
    if (uri !== undefined) await makeReadyToLeave(node, job, job.resources.domain);
    job.resources.guest?.close();
    delete job.resources.guest;
    await checkpoints.custody.park(job, { generation: job.savedAs, ...(uri === undefined ? {} : { uri }) });
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
 * Its guest runs for an instant, of which nobody hears: its address is denied, nothing is taken from its links, its steps' clients are gone. So the checkpoint stays as good as the machine,
 * and the job may go on from either, though not from both. The links are closed only then: what a guest writes into a closed one stops its port (see GuestLink).
 */
async function makeReadyToLeave({ context, config }: Node, job: Job, domain: Domain): Promise<void> {
  const { guest } = job.resources;
  delete job.resources.guest;
  guest?.deafen();
  try {
    await noteParking(config.state_dir, job.machine);
    const begun = performance.now();
    await runBriefly({ context }, domain);
    job.log.debug('fit to be handed over', { ms: Math.round(performance.now() - begun) });
  } finally {
    guest?.close();
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
