import { isCheckpointRefused } from '../../checkpoint/errors.ts';
import type { Generation } from '../../checkpoint/generation.ts';
import type { JobEvent } from '../../jobs/transitions.ts';
import { CaddisError, messageOf } from '../../model/errors.ts';
import { formatBytes } from '../../model/units.ts';
import { isSavedBefore } from '../../vm/hypervisor.ts';
import { killQemu, qemuProcess } from '../../vm/qemu-process.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import type { Checkpoints } from './checkpoints.ts';
import { savedStanding } from './moved-sessions.ts';
import { removeReleaseNote, writeReleaseNote } from './release-notes.ts';
import { restoreMachine, tellAwake } from './restore-machine.ts';
import { writeCheckpoint } from './save.ts';
import { runBriefly } from './stand-still.ts';

const REQUEUE_TIMEOUT_MS = 30_000;

/**
 * Writes a suspended machine into the store while its steps' clients stay where they are. Given up when the job leaves this phase: somebody wants the machine, which is
 * still there.
 */
export async function writeOut(node: Node, job: Job): Promise<JobEvent | undefined> {
  if (job.state.phase !== 'releasing') return undefined;
  // It did not run since.
  if (job.stored) return { type: 'written-out' };
  const signal = job.phaseSignal;
  const begun = performance.now();
  const { state_dir: stateDir } = node.config;
  try {
    const checkpoints = storeOf(node);
    await writeReleaseNote(stateDir, { machine: job.machine, key: job.key });
    const generation = await job.exclusive(() => writeStanding(node, checkpoints, job, signal));
    // From now on it is to be withdrawn before the machine may run.
    job.stored = generation;
    await writeReleaseNote(stateDir, { machine: job.machine, key: job.key, number: generation.number });
    job.log.info(`written out as ${generation.number}: ${formatBytes(generation.manifest.memory.bytes)}`, {
      ms: Math.round(performance.now() - begun),
    });
    return { type: 'written-out' };
  } catch (error) {
    const why = signal.aborted ? 'somebody wants it' : messageOf(error);
    // The next attempt asks anew where its output stands.
    if (!signal.aborted && isSavedBefore(error) && job.resources.domain)
      await runBriefly(node, job.resources.domain).catch((also: unknown) => job.log.warn(messageOf(also)));
    job.log.warn(`the machine keeps its memory: ${why}`);
    return { type: 'write-out-failed' };
  } finally {
    job.progress = undefined;
  }
}

async function writeStanding(
  node: Node,
  checkpoints: Checkpoints,
  job: Job,
  signal: AbortSignal,
): Promise<Generation> {
  const stand = await job.resources.guest?.stand();
  if (!stand) throw new CaddisError('its output does not come to rest');
  const sessions = await savedStanding(job, stand);
  signal.throwIfAborted();
  return writeCheckpoint(node, checkpoints, job, sessions, 'suspend', signal);
}

/** Ends QEMU. Address, scratch disk, directory, claim and the steps' clients stay. */
export async function powerOff(node: Node, job: Job): Promise<void> {
  await endQemu(node, job);
  job.log.info('its memory is given back');
}

/** Makes a released machine again, standing still. Its scratch disk is where it was. */
export async function bringBack(node: Node, job: Job): Promise<JobEvent | undefined> {
  const { stored } = job;
  if (job.state.phase !== 'restoring' || !stored) return undefined;
  const signal = job.phaseSignal;
  const begun = performance.now();
  try {
    await restoreMachine(node.context, storeOf(node), job, stored, { signal, scratch: 'in-place' });
    job.log.info(`restored from ${stored.number}`, { ms: Math.round(performance.now() - begun) });
    return { type: 'restored' };
  } catch (error) {
    await endQemu(node, job).catch((also: unknown) => job.log.warn(messageOf(also)));
    if (signal.aborted) return undefined;
    job.log.error(`cannot go on here: ${messageOf(error)}`);
    return { type: 'restore-failed', reason: messageOf(error), final: isCheckpointRefused(error) };
  }
}

/**
 * Before a machine that was written out runs: what the store has of it is no longer its last state. A job without that word in the store must not go on, or a later start would
 * find processes that know less than their files. Throws StoreUnavailable.
 */
export async function withdraw(node: Node, job: Job): Promise<void> {
  const { stored } = job;
  if (!stored) return;
  const { store } = storeOf(node);
  await store.markResumed(stored);
  await removeReleaseNote(node.config.state_dir, job.machine);
  job.stored = undefined;
  store
    .removeGeneration(job.key, stored.number)
    .catch((error: unknown) => job.log.warn(`checkpoint ${stored.number} stays: ${messageOf(error)}`));
}

/** A machine that was being written out when caddisd ended, and is still there: what came of it in the store does not count. */
export async function withdrawUnfinished(node: Node, job: Job): Promise<void> {
  const { store } = storeOf(node);
  for (const one of await store.generations(job.key))
    if (one.state === 'complete' && one.manifest.reason === 'suspend') await store.markResumed(one);
  await removeReleaseNote(node.config.state_dir, job.machine);
}

/** What a restored machine is told once it runs. One that does not answer is found by the watch over all guests. */
export async function wakeReleased(job: Job): Promise<void> {
  await tellAwake(job, AbortSignal.timeout(REQUEUE_TIMEOUT_MS)).catch((error: unknown) =>
    job.log.warn(`the restored guest was not told that it is one: ${messageOf(error)}`),
  );
}

/** A released job that cannot go on here goes back to the queue with its state. */
export async function sendBack(job: Job, reason: string): Promise<JobEvent | undefined> {
  try {
    if (!job.request.requeueable) throw new CaddisError('this job cannot go back to the queue');
    job.log.warn(`back to the queue with its state: ${reason}`);
    const how = await job.scheduler.requeue(job.request, AbortSignal.timeout(REQUEUE_TIMEOUT_MS));
    return how === 'by-exit' ? { type: 'move' } : undefined;
  } catch (error) {
    return { type: 'restore-failed', reason: `${reason}; ${messageOf(error)}`, final: true };
  }
}

async function endQemu(node: Node, job: Job): Promise<void> {
  const { domain } = job.resources;
  delete job.resources.domain;
  try {
    if (domain) return await node.context.hypervisor.destroy(domain);
  } catch (error) {
    job.log.warn(`libvirt did not end the machine (${messageOf(error)}); ending QEMU itself`);
  }
  const qemu = await qemuProcess(job.machine);
  if (qemu) await killQemu(qemu);
}

function storeOf(node: Node): Checkpoints {
  const { checkpoints } = node.context;
  if (!checkpoints) throw new CaddisError('there is no store: set checkpoint.dir in caddis.toml');
  return checkpoints;
}
