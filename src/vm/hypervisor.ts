import { access } from 'node:fs/promises';

import {
  type Domain,
  destroyFlags,
  isConnectionLost,
  isLibvirtError,
  isNoDomain,
  isNoDomainMetadata,
  jobStatsFlags,
  type Libvirt,
  listFlags,
  metadataType,
  modify,
  type ParamValues,
  type ReconnectingConnection,
  saveFlags,
  snapshotFlags,
  type Versions,
  xmlFlags,
} from '../libvirt/index.ts';
import { messageOf, NodeUnfit } from '../model/errors.ts';
import {
  baseMemory,
  type DiskLimits,
  type NicOptions,
  nicXml,
  presentMemory,
  requestedMemory,
  requestMemoryXml,
  scratchDiskXml,
} from './devices.ts';
import { letRunAsBelieved } from './lost-save.ts';
import { bareMetadataXml, type MachineFacts, METADATA_URI, parseMetadata } from './metadata.ts';
import { type Acceleration, TCG_CPU_MODEL } from './shape.ts';
import { escapeXml } from './xml.ts';

/** Domains of ours, by name; everything else on the node is left alone. */
export const MACHINE_PREFIX = 'caddis-';

/** Period of a vCPU's quota in microseconds: 100 ms, the kernel's default. */
const QUOTA_PERIOD_US = 100_000;

/** How far a memory image of a running machine is. Bytes as QEMU counts them: pages of zeros too, which are not written. */
export interface SavingProgress {
  /** Of this pass, as QEMU knew when it last looked for what was written over meanwhile. */
  readonly remainingBytes: number;
  /** Of all passes. */
  readonly doneBytes: number;
  /** To the file, pages of zeros as little more than nothing. */
  readonly writtenBytes: number;
  /** Each goes over what was written over since the one before began; the first is 1, and 0 is none yet. */
  readonly pass: number;
}

interface SaveOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** QEMU's, of an x86 guest. */
const PAGE_BYTES = 4096;

/** A libvirtd that died is back by then: the service manager waits a moment, and it looks at all its machines first. */
const BACK_WITHIN_MS = 30_000;

/** What Caddis does with domains. Errors of libvirt come through; whoever starts a job turns them into NodeUnfit by `unfit`. */
export class Hypervisor {
  readonly #libvirt: Libvirt<ReconnectingConnection>;
  /** For saves and restores: a control call would wait behind them (facts: "Behaviour"). */
  readonly #long: Libvirt<ReconnectingConnection>;

  constructor(libvirt: Libvirt<ReconnectingConnection>, long: Libvirt<ReconnectingConnection>) {
    this.#libvirt = libvirt;
    this.#long = long;
  }

  get isUp(): boolean {
    return this.#libvirt.rpc.isUp;
  }

  /** Resolves when libvirt answers; rejects after `timeoutMs`. */
  ready(timeoutMs: number): Promise<void> {
    return this.#libvirt.rpc.ready({ timeoutMs });
  }

  async create(xml: string, signal: AbortSignal): Promise<Domain> {
    await this.#libvirt.rpc.ready({ timeoutMs: 10_000, signal });
    return this.#libvirt.createXml(xml, 0, { timeoutMs: 30_000, signal });
  }

  /** Ends a machine at once. One that is gone is no error. */
  async destroy(domain: Domain): Promise<void> {
    try {
      await this.#libvirt.destroy(domain, 0, { timeoutMs: 30_000 });
    } catch (error) {
      if (!isNoDomain(error)) throw error;
    }
  }

  /** Asks QEMU to end and does not insist: for a guest that powers itself off. */
  async destroyGracefully(domain: Domain): Promise<void> {
    await this.#libvirt.destroy(domain, destroyFlags.graceful, { timeoutMs: 5_000 }).catch(() => undefined);
  }

  /** Stops all vCPUs; a machine that stands still already is no error. */
  suspend(domain: Domain, timeoutMs = 10_000): Promise<void> {
    return this.#libvirt.suspend(domain, { timeoutMs });
  }

  /** One that runs already is no error: it may have been said to a libvirtd that died over it. */
  resume(domain: Domain): Promise<void> {
    return this.#surely(() => this.#libvirt.resume(domain, { timeoutMs: 10_000 })).catch((error: unknown) => {
      if (!isLibvirtError(error) || !/already running/.test(error.message)) throw error;
    });
  }

  async isPaused(domain: Domain): Promise<boolean> {
    return (await this.#surely(() => this.#libvirt.state(domain))).state === 'paused';
  }

  /** Rejects when QEMU does not answer: libvirt notices only some milliseconds later that one has died. */
  async demandAnswer(domain: Domain): Promise<void> {
    await this.#surely(() => this.#libvirt.memoryStats(domain));
  }

  /** What may be said twice is said to the next libvirtd when one dies over it: its machines outlive it. */
  async #surely<T>(say: () => Promise<T>): Promise<T> {
    const until = Date.now() + BACK_WITHIN_MS;
    for (;;)
      try {
        return await say();
      } catch (error) {
        const leftMs = until - Date.now();
        if (!isConnectionLost(error) || leftMs <= 0) throw error;
        await this.#libvirt.rpc.ready({ timeoutMs: leftMs }).catch(() => {
          throw error;
        });
      }
  }

  /** The XML from which a saved machine may be restored, with nothing but paths changed (facts: "Checkpoint and restore"). */
  restorableXml(domain: Domain): Promise<string> {
    return this.#libvirt.xml(domain, xmlFlags.migratable | xmlFlags.secure);
  }

  /**
   * Writes the memory of a suspended machine to the file `to`, which libvirt makes. A snapshot and no save: the machine stays, standing still, until somebody has
   * looked at the file. Disks are the caller's.
   */
  saveMemory(domain: Domain, to: string, options: SaveOptions): Promise<void> {
    return this.#snapshot(domain, to, snapshotFlags.noMetadata, options);
  }

  /**
   * The same of a machine that runs on meanwhile. It is stopped when little is left, and libvirt starts it again when all is in the file, whoever has suspended it before; so also after an abort.
   */
  saveRunning(domain: Domain, to: string, options: SaveOptions): Promise<void> {
    return this.#snapshot(domain, to, snapshotFlags.noMetadata | snapshotFlags.live, options);
  }

  async #snapshot(domain: Domain, to: string, flags: number, options: SaveOptions): Promise<void> {
    options.signal.throwIfAborted();
    // libvirt would go on alone, and let nobody else at the machine meanwhile.
    const abort = () => void this.abortJob(domain).catch(() => undefined);
    options.signal.addEventListener('abort', abort, { once: true });
    const disks = ['vda', 'vdb'].map((disk) => `<disk name='${disk}' snapshot='no'/>`).join('');
    const xml = `<domainsnapshot><memory snapshot='external' file='${escapeXml(to)}'/><disks>${disks}</disks></domainsnapshot>`;
    try {
      await this.#long.snapshotCreateXml(domain, xml, flags, options);
    } finally {
      options.signal.removeEventListener('abort', abort);
    }
  }

  /** Ends a save of a machine's memory, or its move. */
  abortJob(domain: Domain): Promise<void> {
    return this.#libvirt.abortJob(domain);
  }

  /** A save of a running machine stops it when what is left takes a millisecond, the least that QEMU knows. It holds until it is set anew; a machine that stands still is not concerned. */
  setLeastDowntime(domain: Domain): Promise<void> {
    return this.#libvirt.setMigrateMaxDowntime(domain, 1);
  }

  /** How far a save of a running machine is; undefined when none is under way. */
  async savingProgress(domain: Domain): Promise<SavingProgress | undefined> {
    const { type, params } = await this.#libvirt.jobStats(domain);
    return type === 'bounded' || type === 'unbounded' ? savingProgress(params) : undefined;
  }

  /** The same of the one that ended last. */
  async savedAtLast(domain: Domain): Promise<SavingProgress> {
    return savingProgress((await this.#libvirt.jobStats(domain, jobStatsFlags.completed)).params);
  }

  /** After a libvirtd that died while the memory of a running machine was written; waits until there is one again. */
  async afterLostSave(domain: Domain): Promise<void> {
    await this.#libvirt.rpc.ready({ timeoutMs: BACK_WITHIN_MS });
    await letRunAsBelieved(this.#libvirt, domain);
  }

  /** Makes the machine of a memory image, standing still. */
  async restore(
    from: string,
    xml: string,
    name: string,
    options: { timeoutMs: number; signal: AbortSignal },
  ): Promise<Domain> {
    await this.#long.restore(from, { ...options, dxml: xml, flags: saveFlags.paused });
    return this.#libvirt.lookupByName(name);
  }

  /** A save, snapshot or migration of this machine is under way. */
  async isBusy(domain: Domain): Promise<boolean> {
    return (await this.#libvirt.jobStats(domain)).type !== 'none';
  }

  find(name: string): Promise<Domain> {
    return this.#libvirt.lookupByName(name);
  }

  versions(): Promise<Versions> {
    return this.#libvirt.version();
  }

  /** What guests see as their processor: a checkpoint goes on only where it is the same. */
  async cpuModel(acceleration: Acceleration): Promise<string> {
    if (acceleration === 'tcg') return TCG_CPU_MODEL;
    const xml = await this.#libvirt.domainCapabilitiesXml({ type: 'kvm' });
    const host = /<mode name='host-model'[\s\S]*?<\/mode>/.exec(xml)?.[0] ?? '';
    const model = /<model[^>]*>([^<]+)<\/model>/.exec(host)?.[1] ?? 'unknown';
    const features = [...host.matchAll(/<feature policy='(\w+)' name='([^']+)'\/>/g)].map(
      ([, policy, name]) => `${policy === 'disable' ? '-' : '+'}${name}`,
    );
    return [model, ...features.sort()].join(' ');
  }

  /** Versioned machine types that this node's emulators know, e.g. `pc-q35-7.2`. */
  async machineTypes(): Promise<string[]> {
    const xml = await this.#libvirt.capabilitiesXml();
    return [
      ...new Set([...xml.matchAll(/<machine[^>]*>([^<]+)<\/machine>/g)].map((match) => match[1] as string)),
    ];
  }

  attachScratch(domain: Domain, disk: { path: string; serial: string; limits: DiskLimits }): Promise<void> {
    return this.#libvirt.attachDevice(domain, scratchDiskXml(disk.path, disk.serial, disk.limits));
  }

  attachNic(domain: Domain, nic: NicOptions): Promise<void> {
    return this.#libvirt.attachDevice(domain, nicXml(nic));
  }

  /** Plugs vCPUs in; the guest brings them online. Never fewer than there are: unplugging fails (facts). */
  setVcpus(domain: Domain, count: number): Promise<void> {
    return this.#libvirt.setVcpus(domain, count, modify.live);
  }

  /** vCPUs that are plugged in, whether the guest uses them or not. */
  vcpus(domain: Domain): Promise<number> {
    return this.#libvirt.getVcpus(domain, modify.live);
  }

  /** Bounds each vCPU to a share of a host CPU; 100 = no bound. */
  async setCpuQuota(domain: Domain, percent: number): Promise<void> {
    const quota = percent >= 100 ? -1 : Math.round((QUOTA_PERIOD_US * percent) / 100);
    await this.#libvirt.setSchedulerParameters(domain, { vcpu_period: QUOTA_PERIOD_US, vcpu_quota: quota });
  }

  /** Its weight against other machines for the host's CPUs, as a share of an ordinary one's; at least the kernel's least. */
  async setCpuWeight(domain: Domain, share: number): Promise<void> {
    const { ordinary, least } = await cpuWeights();
    await this.#libvirt.setSchedulerParameters(domain, {
      cpu_shares: Math.max(Math.round(ordinary * share), least),
    });
  }

  /**
   * Has the guest give `bytes` of its memory to the host, in all: its balloon. 0: it gets all of it back. At most what the machine was made with, whatever was plugged in since.
   * Resolves when the guest was told.
   */
  async setBalloon(domain: Domain, bytes: number): Promise<void> {
    const base = baseMemory(await this.#libvirt.xml(domain));
    await this.#libvirt.setMemory(domain, Math.floor(Math.max(base - bytes, 0) / 1024));
  }

  /** What the balloon holds, in bytes. */
  async balloonBytes(domain: Domain): Promise<number> {
    const { actualKib } = await this.#libvirt.memoryStats(domain);
    if (actualKib === undefined) return 0;
    return Math.max(baseMemory(await this.#libvirt.xml(domain)) - actualKib * 1024, 0);
  }

  /** Sets the size that the guest's virtio-mem device should reach, in bytes beside the base memory. */
  async requestMemory(domain: Domain, bytes: number): Promise<void> {
    const xml = await this.#libvirt.xml(domain);
    await this.#libvirt.updateDevice(domain, requestMemoryXml(xml, bytes), modify.live);
  }

  /** What `requestMemory` was last told, in bytes; 0 for a machine that was never grown. */
  async pluggedMemory(domain: Domain): Promise<number> {
    return requestedMemory(await this.#libvirt.xml(domain));
  }

  /** What the guest has of it, in bytes: it gives back what it can, when it can. */
  async presentMemory(domain: Domain): Promise<number> {
    return presentMemory(await this.#libvirt.xml(domain));
  }

  async setFacts(domain: Domain, facts: MachineFacts): Promise<void> {
    const xml = bareMetadataXml(facts);
    await this.#surely(() =>
      this.#libvirt.setMetadata(domain, metadataType.element, xml, 'caddis', METADATA_URI, modify.live),
    );
  }

  /** Our running machines with what their metadata says; undefined where it cannot be read. */
  async machines(): Promise<{ domain: Domain; facts: MachineFacts | undefined }[]> {
    await this.#libvirt.rpc.ready({ timeoutMs: 30_000 });
    const domains = await this.#libvirt.listDomains(listFlags.active);
    return Promise.all(
      domains
        .filter((domain) => domain.name.startsWith(MACHINE_PREFIX))
        .map(async (domain) => ({ domain, facts: await this.#facts(domain) })),
    );
  }

  async #facts(domain: Domain): Promise<MachineFacts | undefined> {
    try {
      return parseMetadata(
        await this.#libvirt.getMetadata(domain, metadataType.element, METADATA_URI, modify.live),
      );
    } catch (error) {
      if (isNoDomain(error) || isNoDomainMetadata(error)) return undefined;
      throw error;
    }
  }

  /** Calls `listener` when a machine of ours stops, with libvirt's reason (`destroyed`, `shutdown`, `crashed`, `failed`, ...). */
  async onStopped(listener: (name: string, reason: string) => void): Promise<void> {
    await this.#libvirt.rpc.subscribe('lifecycle', ({ domain, event, reason }) => {
      if (event === 'stopped' && domain.name.startsWith(MACHINE_PREFIX)) listener(domain.name, reason);
    });
  }

  /** Calls `listener` after every (re)connection: events of the time between are lost. */
  onUp(listener: () => void): void {
    this.#libvirt.rpc.on('up', listener);
  }

  onDown(listener: (error: Error) => void): void {
    this.#libvirt.rpc.on('down', listener);
  }

  async close(): Promise<void> {
    await Promise.all([this.#libvirt.close(), this.#long.close()]);
  }
}

function savingProgress(params: ParamValues): SavingProgress {
  const number = (name: string) => Number(params[name] ?? 0);
  return {
    remainingBytes: number('memory_remaining'),
    doneBytes: (number('memory_constant') + number('memory_normal')) * PAGE_BYTES,
    writtenBytes: number('memory_processed'),
    pass: number('memory_iteration'),
  };
}

/** QEMU has written this machine's memory already, and the machine did not run since: it neither does so again nor lets it go elsewhere. QEMU's own words (7.2, migrate_prepare). */
export function isSavedBefore(error: unknown): boolean {
  return isLibvirtError(error) && /paused due to previous migration/.test(error.message);
}

/** There is no such machine any more, or it does not run: what was to be done to it was not done. */
export function isMachineGone(error: unknown): boolean {
  return isNoDomain(error) || (isLibvirtError(error) && /domain is not running/.test(error.message));
}

/** cgroup v2 counts weights from 1 to 10,000 and calls 100 ordinary, v1 shares from 2 on with 1024; libvirt 9 hands the number through. */
async function cpuWeights(): Promise<{ ordinary: number; least: number }> {
  const isV2 = await access('/sys/fs/cgroup/cgroup.controllers').then(
    () => true,
    () => false,
  );
  return isV2 ? { ordinary: 100, least: 1 } : { ordinary: 1024, least: 2 };
}

/** A failure of libvirt or QEMU while a machine is made, as the reason for which the job goes back. */
export function unfit(what: string, error: unknown): NodeUnfit {
  const connection = !isLibvirtError(error);
  return new NodeUnfit(`${what}: ${messageOf(error)}`, { wholeNode: connection, cause: error });
}
