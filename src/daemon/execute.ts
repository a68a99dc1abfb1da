import { hostname } from 'node:os';

import type { JobEvent, JobStep } from '../jobs/transitions.ts';
import { isOperationInvalid } from '../libvirt/index.ts';
import { messageOf } from '../model/errors.ts';
import { IN_STORE, releaseAddress, transferAddress } from '../vm/network/addresses.ts';
import { denyPort } from '../vm/network/anti-spoof.ts';
import { killQemu, qemuProcess } from '../vm/qemu-process.ts';
import { removeScratch } from '../vm/scratch.ts';
import type { Job } from './job.ts';
import { ask, freeze, thaw } from './moving/freeze.ts';
import { removeIntent } from './moving/intents.ts';
import { park } from './moving/park.ts';
import { bringBack, powerOff, sendBack, wakeReleased, writeOut } from './moving/release.ts';
import { removeReleaseNote } from './moving/release-notes.ts';
import { saveMachine } from './moving/save.ts';
import { isPutBackByItself } from './moving/why-not-saved.ts';
import type { Node } from './node.ts';
import { linkJob, recordedQemu, removePlaces, unlinkJob } from './places.ts';
import { giveWay } from './pressure/give-way.ts';

/** Bound on telling the scheduler that a machine was lost. */
const REPORT_TIMEOUT_MS = 30_000;

/** Carries out one step of a job's life. What must happen whatever fails (destroy, release) swallows and logs; the rest throws. */
export async function execute(node: Node, job: Job, step: JobStep): Promise<JobEvent | undefined> {
  const runDir = node.context.config.run_dir;
  switch (step.do) {
    case 'publish':
      await node.openStepSocket(job);
      await giveWay(node, job);
      await linkJob(runDir, job.key, job.machine);
      return undefined;
    case 'unpublish':
      await unlinkJob(runDir, job.key, job.machine);
      node.closeStepSocket(job);
      return undefined;
    case 'end-steps':
      await job.resources.guest?.endAll(step.reason);
      return undefined;
    case 'freeze':
      await freeze(node, job).catch((error: unknown) => {
        // The save that follows sees to it itself, and fails in a way that lets the job go.
        if (job.state.phase !== 'saving') throw error;
        job.log.warn(`not frozen yet: ${messageOf(error)}`);
      });
      return undefined;
    case 'thaw':
      await thaw(node, job, step.owed);
      return undefined;
    case 'ask':
      return ask(node, job, step.signal);
    case 'let-signals-go':
      job.resources.guest?.releaseSignals(step.deliver);
      return undefined;
    case 'write-out':
      return writeOut(node, job);
    case 'power-off':
      await powerOff(node, job);
      return undefined;
    case 'restore': {
      const outcome = await bringBack(node, job);
      await giveWay(node, job);
      return outcome;
    }
    case 'wake':
      await wakeReleased(job);
      return undefined;
    case 'send-back':
      return sendBack(job, step.reason);
    case 'save':
      return saveMachine(node, job, step.reason);
    case 'park':
      return park(node, job);
    case 'hand-on':
      await handOn(node, job);
      return undefined;
    case 'discard':
      node.discardLater(job.key, job.scheduler);
      return undefined;
    case 'report-lost':
      await report(job, step.reason);
      return undefined;
    case 'destroy':
      await destroy(node, job);
      return { type: 'destroyed' };
    case 'release':
      await release(node, job, step.keepAddress);
      return undefined;
  }
}

async function report(job: Job, reason: string): Promise<void> {
  const outcome = await job.scheduler
    .lost(job.request, reason, AbortSignal.timeout(REPORT_TIMEOUT_MS))
    .catch((error: unknown) => `the scheduler was not told: ${messageOf(error)}`);
  job.log.warn(`machine lost: ${reason}; job ${outcome}`);
}

/**
 * libvirt ends the machine; if it does not answer, QEMU is killed by the pid that was recorded when it started. A machine of which libvirt has not told us yet (the
 * connection was lost while it was made) is ended by the pid file that libvirt keeps.
 */
async function destroy(node: Node, job: Job): Promise<void> {
  const { domain, guest } = job.resources;
  guest?.close();
  if (isPutBackByItself(job)) await giveBack(job, 'its checkpoints', forgetCheckpoints(node, job));
  try {
    if (domain) return await node.context.hypervisor.destroy(domain);
  } catch (error) {
    // It is not running any more: it has just left for another host, or stopped. Its process is looked for all the same.
    const level = isOperationInvalid(error) ? 'debug' : 'warn';
    job.log[level](`libvirt did not end the machine (${messageOf(error)}); ending QEMU itself`);
  }
  const qemu = (await recordedQemu(job.places)) ?? (await qemuProcess(job.machine));
  if (qemu) await killQemu(qemu);
}

/** A job that wants to run again from its beginning is not to go on from the middle. Before its claim is free. */
async function forgetCheckpoints({ context: { checkpoints } }: Node, job: Job): Promise<void> {
  for (const { number } of (await checkpoints?.store.generations(job.key)) ?? [])
    await checkpoints?.store.removeGeneration(job.key, number);
}

/** Gives everything back. What cannot be given back now is logged, and taken up by the next sweep; the rest goes all the same. */
async function release(node: Node, job: Job, keepAddress: boolean): Promise<void> {
  const { config, checkpoints } = node.context;
  const { address, scratch } = job.resources;
  const { mac, tap } = job.facts;
  if (scratch) await giveBack(job, 'the scratch disk', removeScratch(scratch));
  if (address && mac && tap) {
    await giveBack(job, 'the bridge rule', denyPort({ tap, mac, address }));
    const owner = { host: hostname(), machine: job.machine };
    const { claims_dir: claims } = config.network;
    const given = keepAddress
      ? transferAddress(claims, address, job.machine, IN_STORE)
      : releaseAddress(claims, address, owner);
    await giveBack(job, `address ${address}`, given);
  }
  await giveBack(job, 'the note of a save', removeIntent(config.state_dir, job.machine));
  await giveBack(job, 'the note of a release', removeReleaseNote(config.state_dir, job.machine));
  await giveBack(job, 'the directory', removePlaces(job.places));
  // Last of all: the next host may go on from here.
  await checkpoints?.custody.release(job);
  node.jobs.remove(job);
}

/** What the machine holds, the next incarnation has. */
async function handOn(node: Node, job: Job): Promise<void> {
  await giveBack(job, 'the note of a save', removeIntent(node.context.config.state_dir, job.machine));
  node.context.checkpoints?.custody.forget(job);
  node.jobs.remove(job);
}

async function giveBack(job: Job, what: string, done: Promise<void>): Promise<void> {
  await done.catch((error: unknown) => job.log.error(`${what} could not be given back: ${messageOf(error)}`));
}
