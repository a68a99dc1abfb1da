import { randomBytes, randomUUID } from 'node:crypto';
import { hostname } from 'node:os';

import type { Config } from '../config/schema.ts';
import type { SetupDocument } from '../guest/protocol/machine-documents.ts';
import { CaddisError, isNodeUnfit, messageOf, NodeUnfit } from '../model/errors.ts';
import { MiB } from '../model/units.ts';
import { type NodeCapacity, QEMU_OVERHEAD_BYTES } from '../vm/capacity.ts';
import { type GuestMount, guestMounts, withAddress } from '../vm/host-mounts.ts';
import { type Hypervisor, unfit } from '../vm/hypervisor.ts';
import { metadataXml } from '../vm/metadata.ts';
import { claimAddress, macOf, parseRange } from '../vm/network/addresses.ts';
import { allowPort, tapName } from '../vm/network/anti-spoof.ts';
import { throttleInbound } from '../vm/network/throttle.ts';
import { qemuProcess } from '../vm/qemu-process.ts';
import { createScratch } from '../vm/scratch.ts';
import { type Acceleration, type BaseShape, domainXml } from '../vm/shape.ts';
import type { Guest } from './guest.ts';
import type { Job } from './job.ts';
import { admit, GROW_TIMEOUT_MS, grow, noteMemory } from './machine-size.ts';
import type { Checkpoints } from './moving/checkpoints.ts';
import { createPlaces, recordQemu } from './places.ts';

/** What every start on this node has in common. */
export interface NodeContext {
  /** Opens caddisd's side of a job's guest. */
  readonly connectGuest: (job: Job) => Guest;
  readonly config: Config;
  readonly hypervisor: Hypervisor;
  readonly shape: BaseShape;
  readonly acceleration: Acceleration;
  readonly capacity: NodeCapacity;
  readonly qemuOwner: { readonly uid: number; readonly gid: number };
  /** Undefined: the site has no store. */
  readonly checkpoints: Checkpoints | undefined;
  /** Bytes that are lent to jobs, and resident. */
  readonly heldByBorrowers: () => number;
}

/** Serial of the scratch disk, by which the guest finds it. */
const SCRATCH_SERIAL = 'caddis-scratch';
/** A burst of array tasks must not ask at the same moment; a boot takes longer than this. */
const ASK_JITTER_MS = 500;
const ASK_TIMEOUT_MS = 10_000;

export function newMachineName(): string {
  return `caddis-${randomBytes(6).toString('hex')}`;
}

/**
 * Makes a job's machine: base boot, then scratch disk and NIC by hotplug, set-up, growth to what is known of the request. Whatever it takes is noted in `job.resources` at
 * once, so that the job's end gives it back whatever happened here. Throws NodeUnfit with the reason for which the job goes back to the queue.
 */
export async function startMachine(context: NodeContext, job: Job, signal: AbortSignal): Promise<void> {
  const { config, hypervisor } = context;
  const { request } = job.facts;
  const lap = stopwatch(job.startMs);
  const overhead = QEMU_OVERHEAD_BYTES[context.acceleration];
  await admit(context, job, (request.memoryBytes ?? config.vm.base_memory) + overhead);
  // Beside the boot: what the controller knows is needed only when the devices are plugged in.
  const completed = askOnce(job, signal);
  await createPlaces(job.places, context.qemuOwner);
  const [, mounts] = await Promise.all([takeNetwork(context, job), guestMounts(config.storage)]);
  lap('prepare');

  const domain = await hypervisor.create(machineXml(context, job), signal).catch((error: unknown) => {
    throw unfit('libvirt could not start a machine', error);
  });
  job.resources.domain = domain;
  const qemu = await qemuProcess(job.machine);
  if (qemu) await recordQemu(job.places, qemu.pid, qemu.startTicks);
  lap('define');

  const guest = context.connectGuest(job);
  job.resources.guest = guest;
  await guest.up(config.vm.boot_timeout * 1000, signal).catch((error: unknown) => {
    throw new NodeUnfit(
      `the guest's agent did not answer within ${config.vm.boot_timeout} s (vm.boot_timeout): ${messageOf(error)}`,
      { wholeNode: false, cause: error },
    );
  });
  lap('boot');

  await completed;
  lap('ask');
  await takeScratch(context, job);
  await plugDevices(context, job);
  lap('plug');
  const setup = await guest
    .setup(setupDocument(context, job, mounts), { timeoutMs: GROW_TIMEOUT_MS, signal })
    .catch((error: unknown) => {
      throw new NodeUnfit(`the machine could not be set up: ${messageOf(error)}`, {
        wholeNode: false,
        cause: error,
      });
    });
  noteMemory(job, setup);
  job.log.debug('guest set up', setup.timingsMs);
  lap('setup');
  await grow(context, job, { cpus: job.sizes.cpus, memoryBytes: job.sizes.memoryBytes }, signal);
  lap('grow');
}

/** For each start, whoever needs the answer first. */
export function askOnce(job: Job, signal: AbortSignal): Promise<void> {
  job.asked ??= ask(job, signal);
  return job.asked;
}

/**
 * At most one question to the controller for each start, and none when the prolog's environment says all. No answer is no failure: the site's defaults hold, and the step's own
 * process says memory and CPUs again.
 */
async function ask(job: Job, signal: AbortSignal): Promise<void> {
  const { cpus, memoryBytes, scratchBytes } = job.facts.request;
  if (cpus !== undefined && memoryBytes !== undefined && scratchBytes !== undefined) return;
  try {
    const timeout = AbortSignal.any([signal, AbortSignal.timeout(ASK_TIMEOUT_MS)]);
    const request = await job.scheduler.complete(job.request, { jitterMs: ASK_JITTER_MS, signal: timeout });
    Object.assign(job.facts.request, request);
    job.sizes.cpus ??= request.cpus;
    job.sizes.memoryBytes ??= request.memoryBytes;
  } catch (error) {
    job.log.warn(`the scheduler's controller did not say more about this job: ${messageOf(error)}`);
  }
}

async function takeNetwork({ config }: NodeContext, job: Job): Promise<void> {
  const { network } = config;
  if (network.mode === 'none') return;
  if (network.range === undefined)
    throw new NodeUnfit('network.mode is "bridge" but network.range is not set in caddis.toml', {
      wholeNode: true,
    });
  const address = await claimAddress(network.claims_dir, parseRange(network.range), {
    host: hostname(),
    machine: job.machine,
  });
  job.resources.address = address;
  Object.assign(job.facts, { address, mac: macOf(address), tap: tapName(job.machine) });
}

async function takeScratch({ config, qemuOwner }: NodeContext, job: Job): Promise<void> {
  const bytes = job.facts.request.scratchBytes ?? config.scratch.size;
  const disk = await createScratch(config.scratch.dir, job.machine, Math.max(bytes, 64 * MiB), qemuOwner);
  job.resources.scratch = disk.path;
  Object.assign(job.facts, { scratch: disk.path });
}

function machineXml({ shape }: NodeContext, job: Job): string {
  return domainXml(shape, {
    name: job.machine,
    uuid: randomUUID(),
    controlSocket: job.places.control,
    bulkSocket: job.places.bulk,
    consoleLog: job.places.console,
    metadata: metadataXml(job.facts),
  });
}

async function plugDevices({ config, hypervisor }: NodeContext, job: Job): Promise<void> {
  const { domain, scratch } = job.resources;
  const { address, mac, tap } = job.facts;
  if (!domain || !scratch) throw new CaddisError('nothing to plug devices into');
  try {
    await hypervisor.attachScratch(domain, {
      path: scratch,
      serial: SCRATCH_SERIAL,
      limits: {
        readBytesPerSecond: config.scratch.read_bytes_per_second,
        writeBytesPerSecond: config.scratch.write_bytes_per_second,
      },
    });
    if (address === undefined || mac === undefined || tap === undefined) return;
    await allowPort({ tap, mac, address });
    await hypervisor.attachNic(domain, {
      bridge: config.network.bridge,
      mac,
      tap,
    });
    await throttleInbound(tap, config.network.inbound_kilobytes_per_second);
  } catch (error) {
    if (isNodeUnfit(error)) throw error;
    throw unfit('libvirt could not plug in a device', error);
  }
}

function setupDocument({ config }: NodeContext, job: Job, mounts: readonly GuestMount[]): SetupDocument {
  const { network } = config;
  const { address, mac } = job.facts;
  const net =
    address === undefined || mac === undefined
      ? undefined
      : [
          `mac=${mac} address=${address}/${network.prefix_length} mtu=${network.mtu}`,
          ...(network.gateway === undefined ? [] : [`gateway=${network.gateway}`]),
          ...network.dns.map((server) => `dns=${server}`),
        ].join(' ');
  return {
    hostname: hostname(),
    clockNs: BigInt(Date.now()) * 1_000_000n,
    scratchSerial: SCRATCH_SERIAL,
    net,
    mounts: mounts.map((mount) => withAddress(mount, address)),
    passwd: [job.identity.passwd],
    groupLines: job.identity.groupLines,
    cpus: 1,
    memoryBytes: 0,
    directories: [],
    files: [],
    nfsId: job.machine,
    seed: randomBytes(32),
    stubs: job.scheduler.relayCommands.map((command) => `/usr/bin/${command}`),
    hosts: `${address ?? '127.0.1.1'} ${hostname()}\n`,
    binds: [],
  };
}

/** Notes how long each part of a start took, in milliseconds. */
export function stopwatch(times: Record<string, number>): (name: string) => void {
  let last = performance.now();
  return (name) => {
    const now = performance.now();
    times[name] = Math.round(now - last);
    last = now;
  };
}
