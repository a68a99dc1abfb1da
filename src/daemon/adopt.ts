import { readdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Generation } from '../checkpoint/generation.ts';
import { messageOf } from '../model/errors.ts';
import { formatKey } from '../model/job.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import { MACHINE_PREFIX } from '../vm/hypervisor.ts';
import type { MachineFacts } from '../vm/metadata.ts';
import { releaseStale } from '../vm/network/addresses.ts';
import { installAntiSpoof } from '../vm/network/anti-spoof.ts';
import { qemuProcess } from '../vm/qemu-process.ts';
import { removeScratch } from '../vm/scratch.ts';
import { identityOf } from './identity.ts';
import { Job } from './job.ts';
import type { Checkpoints } from './moving/checkpoints.ts';
import { readIntent, sweepIntents, wasBeingParked, wasToldToMove } from './moving/intents.ts';
import { fromSaved } from './moving/moved-sessions.ts';
import { savePeriodically } from './moving/periodic.ts';
import { withdrawUnfinished } from './moving/release.ts';
import { type ReleaseNote, readReleaseNotes, removeReleaseNote } from './moving/release-notes.ts';
import { factsOf } from './moving/restore-machine.ts';
import { cameWith, finishWaking } from './moving/resume-job.ts';
import { endStaging, sweepStaged } from './moving/staged.ts';
import { bridgeTimeLimit } from './moving/time-limit.ts';
import type { Node } from './node.ts';
import { endOrphan } from './orphans.ts';
import { createPlaces, machinePlaces, recordQemu, sweepPlaces } from './places.ts';

/** Shims come back to a restarted caddisd within a second or two. */
const SHIMS_BACK_MS = 10_000;

/**
 * Builds the job table from what runs: the facts of every job sit in its domain's metadata. Machines whose prolog was never answered are ended (their hook has put the job
 * back), what nobody owns any more is removed, and jobs that the scheduler has forgotten are ended.
 */
export async function adopt(node: Node): Promise<void> {
  const { hypervisor, config, checkpoints } = node.context;
  const isAdopted = (machine: string) => node.jobs.byMachine(machine) !== undefined;
  const staged = checkpoints ? await endStaging(node.context, isAdopted) : new Set<string>();
  const notes = new Map((await readReleaseNotes(config.state_dir)).map((note) => [note.machine, note]));
  for (const { domain, facts } of await hypervisor.machines()) {
    // An earlier attempt came this far.
    if (node.jobs.byMachine(domain.name)) continue;
    const note = notes.get(domain.name);
    if (note?.number !== undefined) {
      // The store has it as it stands still; what was made of that was not verified.
      await hypervisor.destroy(domain);
      continue;
    }
    const scheduler = facts && node.schedulers.get(facts.key.scheduler);
    if (!facts?.ready || !scheduler) {
      node.log.warn(
        `ending ${domain.name}: ${facts ? 'it was being made when caddisd stopped' : 'it has no facts of ours'}`,
      );
      await hypervisor.destroy(domain);
      continue;
    }
    const job = await jobOf(node, scheduler, facts);
    const custody = facts.request.hosts === 1 ? checkpoints?.custody : undefined;
    const parking = await wasBeingParked(config.state_dir, job.machine);
    const claim = custody ? await custody.adopt(job) : 'ours';
    const held = claim === 'ours' && parking ? 'parked' : claim;
    if (held !== 'ours') {
      if (held === 'lost') job.log.error('another node has claimed this job meanwhile: ending this copy');
      else job.log.info('its machine was parked when caddisd stopped, and is in the store: ending it');
      await hypervisor.destroy(domain);
      await custody?.release(job);
      continue;
    }
    job.isAdopted = true;
    job.resources.domain = domain;
    if (note && checkpoints) await withdrawUnfinished(node, job);
    if (facts.address !== undefined) job.resources.address = facts.address;
    if (facts.scratch !== undefined) job.resources.scratch = facts.scratch;
    const came = checkpoints && (await cameWith(checkpoints, job));
    await createPlaces(job.places, node.context.qemuOwner);
    const qemu = await qemuProcess(job.machine);
    if (qemu) await recordQemu(job.places, qemu.pid, qemu.startTicks);
    const toTakeUp =
      staged.has(job.machine) ||
      (await hypervisor.isPaused(domain)) ||
      (await wasToldToMove(config.state_dir, job.machine));
    // Nothing from here on to where the job is entered can fail: an attempt that fails before is made again as a whole, and QEMU serves one connection.
    job.resources.guest = node.context.connectGuest(job);
    if (came) job.resources.guest.resume(fromSaved(came.manifest));
    job.resources.guest.watch();
    node.jobs.add(job);
    await job.dispatch({ type: 'machine-ready' });
    job.log.info('machine adopted');
    savePeriodically(node, job);
    bridgeTimeLimit(node, job);
    if (checkpoints && came && facts.waking) void wakeUp(node, checkpoints, job, came);
    else if (toTakeUp) void takeUp(node, job).catch((error: unknown) => job.log.error(messageOf(error)));
  }
  for (const note of notes.values())
    if (checkpoints && !node.jobs.byMachine(note.machine)) await adoptReleased(node, checkpoints, note);
  // Not before: an attempt that fails is made again, and must find them.
  await sweepStaged(node.context, (machine) => !staged.has(machine));
  await sweep(node);
}

async function jobOf(node: Node, scheduler: Scheduler, facts: MachineFacts): Promise<Job> {
  const job = new Job({
    facts,
    scheduler,
    places: machinePlaces(node.config.run_dir, facts.machine),
    log: node.log,
    identity: await identityOf(facts.request.uid),
    execute: (job, step) => node.execute(job, step),
  });
  // Its prolog was answered, whoever lends it its memory.
  job.isAdmitted = true;
  return job;
}

/** A machine that was about to go on when caddisd stopped. */
async function wakeUp(node: Node, checkpoints: Checkpoints, job: Job, came: Generation): Promise<void> {
  await job
    .exclusive(() => finishWaking(node.context, checkpoints, job, came))
    .catch((error: unknown) =>
      job.dispatch({ type: 'machine-lost', reason: `it did not go on: ${messageOf(error)}` }),
    )
    .catch((error: unknown) => job.log.error(messageOf(error)));
}

/** A job whose machine gave its memory back before this caddisd was started: its steps' clients wait for it to go on. */
async function adoptReleased(node: Node, checkpoints: Checkpoints, note: ReleaseNote): Promise<void> {
  const { config } = node.context;
  const generations = await checkpoints.store.generations(note.key);
  const stored = generations.find(({ number }) => number === note.number);
  const scheduler = node.schedulers.get(note.key.scheduler);
  if (stored?.state !== 'complete' || !scheduler) {
    node.log.error(`${note.machine} of ${formatKey(note.key)} was released, and its checkpoint is gone`);
    return removeReleaseNote(config.state_dir, note.machine);
  }
  const facts = factsOf(stored);
  const job = await jobOf(node, scheduler, facts);
  if ((await checkpoints.custody.adopt(job)) !== 'ours') {
    job.log.error('another node has claimed this job meanwhile');
    return removeReleaseNote(config.state_dir, note.machine);
  }
  job.stored = stored;
  Object.assign(job.sizes, stored.manifest.sizes);
  if (facts.address !== undefined) job.resources.address = facts.address;
  if (facts.scratch !== undefined) job.resources.scratch = facts.scratch;
  await createPlaces(job.places, node.context.qemuOwner);
  job.resources.guest = node.context.connectGuest(job);
  job.resources.guest.asleep();
  job.frozenSinceMs = performance.now();
  node.jobs.add(job);
  await job.dispatch({ type: 'found-released' });
  job.log.info('released machine adopted');
  savePeriodically(node, job);
  bridgeTimeLimit(node, job);
  // The word to go on may have come while no caddisd ran.
  void job.dispatch({ type: 'halted', signal: 0 }).catch((error: unknown) => job.log.error(messageOf(error)));
}

/**
 * A machine that stands still, or may have been told to while its memory was staged, or was to move. In the middle of a save whose shims have said all: it is done over. Else it is suspended, or a save had just begun: the scheduler knows. It is asked when
 * the shims are back, since without them nobody could say how much of the job's output was delivered.
 */
async function takeUp(node: Node, job: Job): Promise<void> {
  const deadline = performance.now() + SHIMS_BACK_MS;
  const intent = await readIntent(node.config.state_dir, job.machine);
  if (intent) {
    // Those that have not heard that they may end find nobody any more once the save has begun.
    while (!areBack(job, intent.shims) && performance.now() < deadline) await sleep(50);
    await job.dispatch({ type: 'move' });
    // Its epilog may have come before this caddisd.
    return endOrphan(node, job);
  }
  while (job.shims.size === 0 && performance.now() < deadline) await sleep(50);
  const moves = await wasToldToMove(node.config.state_dir, job.machine);
  await job.dispatch(moves ? { type: 'move' } : { type: 'halted', signal: 0 });
}

function areBack({ shims }: Job, pids: readonly number[]): boolean {
  const back = new Set([...shims.values()].map(({ pid }) => pid));
  return pids.every((pid) => back.has(pid) || !isProcess(pid));
}

function isProcess(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/**
 * After a time without libvirt: jobs whose machine stopped meanwhile are lost, and a machine that no job owns (the connection was lost while it was made) is ended.
 */
export async function reconcile(node: Node, lost: (job: Job) => Promise<void>): Promise<void> {
  const { hypervisor } = node.context;
  // Before libvirt is asked: one that is made, restored or ended meanwhile is in a list that is older than it, or no longer.
  const had = node.jobs.all().map((job) => ({ job, domain: job.resources.domain }));
  const running = await hypervisor.machines();
  const names = new Set(running.map(({ domain }) => domain.name));
  for (const { job, domain } of had)
    if (domain && job.resources.domain === domain && !names.has(job.machine)) await lost(job);
  for (const { domain } of running) {
    if (node.jobs.byMachine(domain.name)) continue;
    node.log.warn(`ending ${domain.name}: no job owns it`);
    await hypervisor.destroy(domain);
  }
  await sweepFiles(node);
}

/** Removes what machines that are gone have left on this node and in the store, and writes the bridge rules afresh: only while no machine is made. */
async function sweep(node: Node): Promise<void> {
  if (node.config.network.mode === 'bridge') {
    const ports = node.jobs
      .all()
      .flatMap(({ facts: { tap, mac, address } }) => (tap && mac && address ? [{ tap, mac, address }] : []));
    await installAntiSpoof(ports, node.config.network.outbound_kilobytes_per_second);
  }
  await sweepFiles(node);
}

/** Directories, scratch disks and address claims of machines that no job has; whoever makes a machine has entered its job before. */
async function sweepFiles(node: Node): Promise<void> {
  const { config } = node;
  const isAlive = (machine: string) => node.jobs.byMachine(machine) !== undefined;
  const isStored = (machine: string) => hasCheckpoint(node, machine);
  const gone = await sweepPlaces(config.run_dir, isAlive);
  // The next save of a machine that comes back under its name must not take an old one's word.
  await sweepIntents(config.state_dir, isAlive);
  const { checkpoints } = node.context;
  if (checkpoints) await sweepStaged(node.context, isAlive);
  if (checkpoints)
    await checkpoints.store
      .jobs()
      .then((keys) => checkpoints.custody.releaseForgotten(keys, isAlive))
      .catch((error: unknown) => node.log.warn(`claims could not be looked at: ${messageOf(error)}`));
  for (const file of await readdir(config.scratch.dir).catch(() => [] as string[]))
    if (isLeftOver(file, isAlive)) await removeScratch(join(config.scratch.dir, file));
  if (config.network.mode === 'bridge') {
    const released = await releaseStale(config.network.claims_dir, hostname(), isAlive, isStored);
    if (released.length > 0)
      node.log.info(`gave back addresses of machines that are gone: ${released.join(', ')}`);
  }
  if (gone.length > 0) node.log.info(`removed what was left of ${gone.join(', ')}`);
}

/** Whether a machine that is gone may come back, which needs its address. */
async function hasCheckpoint({ context: { checkpoints } }: Node, machine: string): Promise<boolean> {
  for (const key of (await checkpoints?.store.jobs()) ?? [])
    for (const generation of (await checkpoints?.store.generations(key)) ?? [])
      if (generation.state === 'complete' && generation.manifest.machine === machine) return true;
  return false;
}

/**
 * A machine's disk (`NAME.img`), one that was being unpacked (`NAME.img.part`), or the copy of it that a checkpoint was made of (`.NAME.snapshot`), when there is no such machine. The
 * directory is the site's: what is not ours stays.
 */
export function isLeftOver(file: string, isAlive: (machine: string) => boolean): boolean {
  const machine = /^(.+)\.img(?:\.part)?$/.exec(file)?.[1] ?? /^\.(.+)\.snapshot$/.exec(file)?.[1];
  return machine?.startsWith(MACHINE_PREFIX) === true && !isAlive(machine);
}
