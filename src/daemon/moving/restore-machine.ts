import { hostname } from 'node:os';
import { dirname, join } from 'node:path';

import { isCheckpointRefused } from '../../checkpoint/errors.ts';
import type { Generation } from '../../checkpoint/generation.ts';
import { unpackScratch } from '../../checkpoint/scratch.ts';
import { isNodeUnfit, messageOf, NodeUnfit } from '../../model/errors.ts';
import { QEMU_OVERHEAD_BYTES } from '../../vm/capacity.ts';
import { type MachineFacts, machineFacts, withFacts } from '../../vm/metadata.ts';
import { transferAddress } from '../../vm/network/addresses.ts';
import { allowPort } from '../../vm/network/anti-spoof.ts';
import { throttleInbound } from '../../vm/network/throttle.ts';
import { qemuProcess } from '../../vm/qemu-process.ts';
import { retargetXml } from '../../vm/retarget.ts';
import type { Job, JobResources } from '../job.ts';
import { admit, grow, larger } from '../machine-size.ts';
import { createPlaces, recordQemu } from '../places.ts';
import { type NodeContext, stopwatch } from '../start-machine.ts';
import type { Checkpoints } from './checkpoints.ts';
import type { ParkedElsewhere } from './custody.ts';
import { handOver } from './hand-over.ts';
import { fromSaved, type SavedSessions } from './moved-sessions.ts';
import { restoreMemory } from './restore-memory.ts';

const RESTORE_TIMEOUT_MS = 30 * 60_000;
/** A restored guest answers within milliseconds; a loaded emulated one within seconds. */
const WAKE_TIMEOUT_MS = 60_000;

/** The facts that a saved machine had. Throws CheckpointRefused's reason as text where they are not understood. */
export function factsOf({ manifest }: Pick<Generation, 'manifest'>): MachineFacts {
  return machineFacts.parse(manifest.facts);
}

/**
 * Makes a job's machine of a checkpoint, to the point where it goes on at the instruction where it stood: it starts standing still, is verified meanwhile, and runs only when every byte was
 * the one that was saved. Throws CheckpointRefused when it was not, NodeUnfit when this node cannot have it now. What it takes is noted in `job.resources`.
 */
export async function restoreMachine(
  context: NodeContext,
  checkpoints: Checkpoints,
  job: Job,
  generation: Generation,
  {
    parked,
    signal,
    scratch = 'unpack',
  }: {
    readonly parked?: ParkedElsewhere | undefined;
    readonly signal: AbortSignal;
    readonly scratch?: 'unpack' | 'in-place';
  },
): Promise<void> {
  const { config } = context;
  const { manifest } = generation;
  const saved = factsOf(generation);
  const lap = stopwatch(job.startMs);
  Object.assign(job.sizes, manifest.sizes);
  newQemu(job, saved);
  await admit(context, job, manifest.sizes.memoryBytes + QEMU_OVERHEAD_BYTES[context.acceleration]);
  await createPlaces(job.places, context.qemuOwner);
  await takeAddress(context, job, saved);
  lap('prepare');
  const machineXml = () =>
    withFacts(retargetXml(manifest.domainXml, placesOf(context, saved, job)), job.facts);
  const pulled =
    parked?.generation === generation.number &&
    (await handOver(context, job, { manifest, machineXml, parked }, signal));
  lap('hand_over');
  if (!pulled) {
    await restoreFromStore(context, checkpoints, job, generation, { machineXml, scratch, lap, signal });
    lap('restore');
  }
  await noteQemu(job);
  // The port is a new one.
  if (job.facts.tap !== undefined)
    await throttleInbound(job.facts.tap, config.network.inbound_kilobytes_per_second);
}

async function restoreFromStore(
  context: NodeContext,
  checkpoints: Checkpoints,
  job: Job,
  generation: Generation,
  {
    machineXml,
    scratch,
    lap,
    signal,
  }: {
    readonly machineXml: () => string;
    readonly scratch: 'unpack' | 'in-place';
    readonly lap: (what: string) => void;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { hypervisor } = context;
  const { manifest } = generation;
  job.bootPath = 'restore';
  const abort = AbortSignal.any([signal, AbortSignal.timeout(RESTORE_TIMEOUT_MS)]);
  job.progress = { what: 'restoring', totalBytes: manifest.memory.bytes, doneBytes: 0 };
  try {
    if (scratch === 'unpack') await takeScratch(context, checkpoints, job, generation, abort);
    lap('scratch');
    const { settings, store } = checkpoints;
    const parts: Record<string, number> = {};
    await restoreMemory(hypervisor, store.io, {
      path: generation.memoryPath,
      saved: manifest.memory,
      pipePath: join(settings.staging_dir, `${job.machine}.memory`),
      xml: machineXml(),
      name: job.machine,
      signal: abort,
      progress: (bytes) => {
        if (job.progress) job.progress.doneBytes = bytes;
      },
      say: (text) => job.log.warn(text),
      took: (part, ms) => {
        parts[part] = Math.round(ms);
      },
      made: (domain) => {
        job.resources.domain = domain;
      },
    });
    job.log.info('memory restored', parts);
  } finally {
    job.progress = undefined;
  }
}

/** The machine stands here already: its job left this node and came back. Throws NodeUnfit when it does not stand still. */
export async function thawMachine(
  context: NodeContext,
  job: Job,
  generation: Generation,
  { domain, scratch }: JobResources,
): Promise<void> {
  const lap = stopwatch(job.startMs);
  const saved = factsOf(generation);
  Object.assign(job.sizes, generation.manifest.sizes);
  job.bootPath = 'thaw';
  job.facts.hostCpuBeforeMs = saved.hostCpuBeforeMs;
  job.hostCpu = { startTicks: undefined, beforeMs: saved.hostCpuBeforeMs ?? 0, nowMs: 0 };
  if (domain) job.resources.domain = domain;
  if (scratch !== undefined) {
    job.resources.scratch = scratch;
    job.facts.scratch = scratch;
  }
  if (!domain || !(await context.hypervisor.isPaused(domain)))
    throw new NodeUnfit('the parked machine does not stand still any more', { wholeNode: false });
  await takeAddress(context, job, saved);
  lap('prepare');
}

/** Its CPU time begins anew; what the machine had used is in its checkpoint. */
function newQemu(job: Job, { used }: MachineFacts): void {
  job.facts.used = used;
  job.facts.hostCpuBeforeMs = used?.hostCpuMs;
  job.hostCpu = { startTicks: undefined, beforeMs: used?.hostCpuMs ?? 0, nowMs: 0 };
}

async function noteQemu(job: Job): Promise<void> {
  const qemu = await qemuProcess(job.machine);
  if (qemu) await recordQemu(job.places, qemu.pid, qemu.startTicks);
}

interface Waking {
  readonly dropCaches: boolean;
  readonly signal: AbortSignal;
  /** Around the moment when it begins to run. */
  readonly run: (run: () => Promise<void>) => Promise<void>;
}

/** Lets a restored machine run, and gives it the time and what has changed of its request since. */
export async function wakeMachine(
  context: NodeContext,
  job: Job,
  came: SavedSessions,
  waking: Waking,
): Promise<void> {
  const guest = context.connectGuest(job);
  job.resources.guest = guest;
  guest.resume(fromSaved(came));
  await letRun(context, job, waking);
}

/** The same when its guest's sessions are known already. One that runs is not harmed by it. */
export async function letRun(
  context: NodeContext,
  job: Job,
  { dropCaches, signal, run }: Waking,
): Promise<void> {
  const { hypervisor } = context;
  const { domain, guest } = job.resources;
  if (!domain || !guest) throw new NodeUnfit('the restored machine is gone', { wholeNode: false });
  const lap = stopwatch(job.startMs);
  if (await hypervisor.isPaused(domain)) {
    // A QEMU that is dead by now has used nothing up.
    await hypervisor.demandAnswer(domain);
    await run(() => hypervisor.resume(domain));
  }
  guest.awake();
  await guest.up(WAKE_TIMEOUT_MS, signal).catch((error: unknown) => {
    throw new NodeUnfit(`the restored guest's agent does not answer: ${messageOf(error)}`, {
      wholeNode: false,
      cause: error,
    });
  });
  const bound = { timeoutMs: WAKE_TIMEOUT_MS, signal };
  await guest.wake(bound);
  // A job that was saved while it ran stands still inside the guest. What it has cached of files that have changed since must go first.
  if (dropCaches) await guest.pause('drop-caches', bound);
  await guest.pause('go-on', bound);
  lap('wake');
  const { cpus, memoryBytes } = job.facts.request;
  const wanted = {
    cpus: larger(cpus, job.sizes.cpus),
    memoryBytes: larger(memoryBytes, job.sizes.memoryBytes),
  };
  if (wanted.cpus !== undefined || wanted.memoryBytes !== undefined) await grow(context, job, wanted, signal);
  lap('grow');
}

/** Tells a restored machine that runs what time it is. Rejects when its agent does not answer. */
export async function tellAwake({ resources: { guest } }: Job, signal: AbortSignal): Promise<void> {
  await guest?.up(WAKE_TIMEOUT_MS, signal);
  await guest?.wake({ timeoutMs: WAKE_TIMEOUT_MS, signal });
}

async function takeAddress({ config }: NodeContext, job: Job, saved: MachineFacts): Promise<void> {
  const { address, mac, tap } = saved;
  if (address === undefined || mac === undefined || tap === undefined) return;
  await transferAddress(config.network.claims_dir, address, job.machine, hostname());
  job.resources.address = address;
  Object.assign(job.facts, { address, mac, tap });
  await allowPort({ tap, mac, address });
}

async function takeScratch(
  { config, qemuOwner }: NodeContext,
  { store }: Checkpoints,
  job: Job,
  { directory, manifest }: Generation,
  signal: AbortSignal,
): Promise<void> {
  if (!manifest.scratch) return;
  const path = join(config.scratch.dir, `${job.machine}.img`);
  job.resources.scratch = path;
  job.facts.scratch = path;
  try {
    await unpackScratch(store.io, join(directory, 'scratch'), path, manifest.scratch, {
      signal,
      owner: qemuOwner,
    });
  } catch (error) {
    if (isCheckpointRefused(error) || isNodeUnfit(error)) throw error;
    throw new NodeUnfit(`cannot restore the scratch disk in ${config.scratch.dir}: ${messageOf(error)}`, {
      wholeNode: false,
      cause: error,
    });
  }
}

/** Nodes may have their directories elsewhere; the machine's own name is the same. */
function placesOf({ config, shape }: NodeContext, saved: MachineFacts, job: Job): [string, string][] {
  const paths: [string, string][] = [];
  const { scratch } = job.facts;
  if (saved.scratch !== undefined && scratch !== undefined) paths.push([saved.scratch, scratch]);
  if (saved.imageDirectory !== undefined) paths.push([`${saved.imageDirectory}/`, `${dirname(shape.root)}/`]);
  if (saved.runDir !== undefined) paths.push([`${saved.runDir}/machines/`, `${config.run_dir}/machines/`]);
  return paths;
}
