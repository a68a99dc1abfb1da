import { setTimeout as sleep } from 'node:timers/promises';

import { growthOf } from '../config/growth.ts';
import type { Config } from '../config/schema.ts';
import type { SetupResult } from '../guest/protocol/machine-documents.ts';
import { CaddisError, NodeUnfit } from '../model/errors.ts';
import { formatBytes, MiB } from '../model/units.ts';
import { markBytes } from '../pressure/growth.ts';
import { admitMemory } from '../vm/capacity.ts';
import { BLOCK_BYTES, memoryToKeep, memoryToPlug, mostOffered, mostToPlug } from '../vm/grow.ts';
import type { BaseShape } from '../vm/shape.ts';
import type { Job } from './job.ts';
import type { NodeContext } from './start-machine.ts';

/** How long plugged memory and CPUs may take to show in the guest; 2 GiB took half a second (facts: "Clones"). */
export const GROW_TIMEOUT_MS = 30_000;
/** How often the size is corrected when the guest offers less than was worked out. */
const GROW_ATTEMPTS = 3;
/** What a guest keeps for itself, where no idle moment can be seen any more: 31 MiB were measured. */
const ADOPTED_LOSS_BYTES = 48 * MiB;
/** A guest gives memory back as far as it can, which it tries at once and then ever more seldom (facts: "virtio-mem shrink"). */
const UNPLUG_MS = 5_000;
const LOOK_EVERY_MS = 500;

/**
 * Grows a running machine to these sizes (undefined: leave). Throws NodeUnfit when the node or its maxima do not allow it, or the guest does not show it in time.
 */
export async function grow(
  context: NodeContext,
  job: Job,
  wanted: { cpus: number | undefined; memoryBytes: number | undefined },
  signal: AbortSignal,
): Promise<void> {
  const { domain, guest } = job.resources;
  if (!domain || !guest) throw new CaddisError('the machine is not there yet');
  const { shape, hypervisor } = context;
  if (job.sizes.totalBytes === undefined) await learnSizes(context, job, signal);
  // What is not asked for stays: the guest takes CPUs beyond the number that it is told out of service.
  const cpus = Math.min(wanted.cpus ?? job.sizes.cpus ?? 1, shape.maxCpus);
  if (wanted.cpus !== undefined && wanted.cpus > shape.maxCpus)
    throw new NodeUnfit(
      `the job has ${wanted.cpus} CPUs, this node's machines at most ${shape.maxCpus} (vm.cpus_max)`,
      {
        wholeNode: false,
      },
    );
  // Some may be plugged in and out of use: unplugging fails (facts).
  if (cpus > 1 && cpus > (await hypervisor.vcpus(domain))) await hypervisor.setVcpus(domain, cpus);
  if (context.config.vm.cpu_quota_percent < 100)
    await hypervisor.setCpuQuota(domain, context.config.vm.cpu_quota_percent);

  const asked = wanted.memoryBytes ?? job.sizes.memoryBytes ?? 0;
  const memoryBytes = fitting(job, asked, shape);
  const mostPlugged = mostToPlug(shape);
  for (let attempt = 0; attempt < GROW_ATTEMPTS; attempt++) {
    const now = { pluggedBytes: job.sizes.pluggedBytes, availableBytes: offered(job) };
    const plug = Math.min(memoryToPlug(memoryBytes, now), mostPlugged);
    const growing = plug > job.sizes.pluggedBytes;
    if (growing) {
      await admit(context, job, plug - job.sizes.pluggedBytes);
      await hypervisor.requestMemory(domain, plug);
    }
    if (!growing && attempt > 0) break;
    // The guest is done when it shows this much; what it loses to page structures stays in its total.
    const total = growing ? (job.sizes.totalBytes ?? 0) + plug - job.sizes.pluggedBytes : 0;
    const done = await guest.resize(
      {
        cpus,
        memoryBytes: total,
        jobMemoryBytes: memoryBytes,
        jobMarkBytes: markOf(context.config, job, memoryBytes),
      },
      { timeoutMs: GROW_TIMEOUT_MS, signal },
    );
    job.sizes.pluggedBytes = plug;
    noteMemory(job, done);
    if (offered(job) >= memoryBytes) break;
  }
  // Of the whole node it is what it is.
  if (offered(job) < memoryBytes && memoryBytes === asked)
    throw new NodeUnfit(
      `the machine offers ${formatBytes(offered(job))} of the ${formatBytes(memoryBytes)} that the job asked for`,
      { wholeNode: false },
    );
  job.sizes.cpus = wanted.cpus ?? job.sizes.cpus;
  job.sizes.memoryBytes = wanted.memoryBytes === undefined ? job.sizes.memoryBytes : memoryBytes;
}

/**
 * A job of the whole node (--mem=0, or all that the scheduler counts) gets the node less what its machine needs for itself. Throws NodeUnfit for more than a machine may have.
 */
function fitting(job: Job, wantedBytes: number, shape: BaseShape): number {
  const most = mostMemory(job, shape);
  if (wantedBytes <= most) return wantedBytes;
  if (wantedBytes > shape.maxMemoryBytes)
    throw new NodeUnfit(
      `the job's ${formatBytes(wantedBytes)} do not fit into a machine of this node: at most ${formatBytes(shape.maxMemoryBytes)} (vm.memory_max)`,
      { wholeNode: false },
    );
  job.log.info(
    `the job has the whole node: its machine offers ${formatBytes(most)} of ${formatBytes(wantedBytes)}`,
  );
  return most;
}

/** The most memory that a job's machine could offer it. */
export function mostMemory(job: Job, shape: BaseShape): number {
  return mostOffered(mostToPlug(shape), {
    pluggedBytes: job.sizes.pluggedBytes,
    availableBytes: offered(job),
  });
}

/**
 * Brings a job's wall down to `memoryBytes`, and the machine as far as its guest gives memory back. Rejects when the job holds too much for it by now. Returns what was to be
 * unplugged, and what was.
 */
export async function shrink(
  { config, hypervisor }: NodeContext,
  job: Job,
  memoryBytes: number,
): Promise<{ readonly wantedBytes: number; readonly givenBytes: number }> {
  const { domain, guest } = job.resources;
  if (!domain || !guest) throw new CaddisError('the job has no machine any more');
  const options = { timeoutMs: GROW_TIMEOUT_MS };
  const jobMarkBytes = markOf(config, job, memoryBytes);
  await guest.resize({ cpus: 0, memoryBytes: 0, jobMemoryBytes: memoryBytes, jobMarkBytes }, options);
  job.sizes.memoryBytes = memoryBytes;
  const before = job.sizes.pluggedBytes;
  const keep = memoryToKeep(memoryBytes, { pluggedBytes: before, availableBytes: offered(job) });
  if (keep >= before) return { wantedBytes: 0, givenBytes: 0 };
  await hypervisor.requestMemory(domain, keep);
  const deadline = performance.now() + UNPLUG_MS;
  let present = before;
  while (present > keep && performance.now() < deadline) {
    await sleep(LOOK_EVERY_MS);
    present = await hypervisor.presentMemory(domain);
  }
  // What it has not given it keeps: the books say what is there, and it does not change behind them.
  if (present > keep) await hypervisor.requestMemory(domain, Math.ceil(present / BLOCK_BYTES) * BLOCK_BYTES);
  job.sizes.pluggedBytes = present;
  noteMemory(job, await guest.resize(QUESTION, options));
  return { wantedBytes: before - keep, givenBytes: before - present };
}

/** Takes CPUs out of use, or into use again; they stay plugged (facts: unplugging fails). */
export async function useCpus(job: Job, cpus: number): Promise<void> {
  const { guest } = job.resources;
  if (!guest) throw new CaddisError('the job has no machine any more');
  await guest.resize({ ...QUESTION, cpus }, { timeoutMs: GROW_TIMEOUT_MS });
  job.sizes.cpus = cpus;
}

/** A RESIZE that changes nothing: its answer says what there is. */
const QUESTION = { cpus: 0, memoryBytes: 0, jobMemoryBytes: 0 };

/** Where a job is slowed down until it was decided what becomes of it; undefined: nowhere. */
function markOf({ growth }: Config, job: Job, wallBytes: number): number | undefined {
  const policy = growthOf(growth, job.facts.request.queue);
  return policy.enabled ? markBytes(policy, wallBytes) : undefined;
}

/** A restarted caddisd asks libvirt and the guest how large a machine has become. */
export async function learnSizes({ hypervisor }: NodeContext, job: Job, signal: AbortSignal): Promise<void> {
  const { domain, guest } = job.resources;
  if (!domain || !guest) return;
  job.sizes.pluggedBytes = await hypervisor.pluggedMemory(domain);
  job.sizes.idleLossBytes = ADOPTED_LOSS_BYTES;
  noteMemory(job, await guest.resize(QUESTION, { timeoutMs: GROW_TIMEOUT_MS, signal }));
}

/** What there really is, of a machine that runs: a growth that was cut off has left more than is known. */
export async function refreshSizes({ hypervisor }: NodeContext, job: Job): Promise<void> {
  const { domain } = job.resources;
  if (!domain) throw new CaddisError('the job has no machine any more');
  job.sizes.pluggedBytes = await hypervisor.pluggedMemory(domain);
  job.sizes.totalBytes = job.report?.sample.totalBytes ?? job.sizes.totalBytes;
}

/** Takes what a guest said of its memory. Only a machine in which no step runs shows what it keeps for itself. */
export function noteMemory(job: Job, said: SetupResult): void {
  const { memTotalBytes: total, memAvailableBytes: available } = said;
  job.sizes.totalBytes = total;
  job.sizes.availableBytes = available;
  if (job.resources.guest?.steps === 0) job.sizes.idleLossBytes = (total ?? 0) - (available ?? 0);
}

/** Bytes that the machine has for its job: what the job uses at this moment is its own and does not count as missing. */
export function offered(job: Pick<Job, 'sizes'>): number {
  return (job.sizes.totalBytes ?? 0) - job.sizes.idleLossBytes;
}

/** Throws NotEnoughMemory. What borrowers hold is an owner's when it wants it, so that it is never refused for them; to a borrower it is taken. */
export function admit({ config, heldByBorrowers }: NodeContext, job: Job, bytes: number): Promise<void> {
  const returnable = config.pressure.scavenge.includes(job.facts.request.queue) ? 0 : heldByBorrowers();
  return admitMemory(bytes, config.vm.reserve_memory, returnable);
}

/** The larger value if it is news, else undefined. */
export function larger(wanted: number | undefined, now: number | undefined): number | undefined {
  return wanted !== undefined && (now === undefined || wanted > now) ? wanted : undefined;
}
