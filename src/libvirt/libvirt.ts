import { Connection, type ConnectionOptions } from './connection.ts';
import { type Domain, decodeDomain, domainMinimumBytes, encodeDomain, encodeUuid } from './domain.ts';
import { modify } from './flags.ts';
import { type MemoryStats, memoryStatsFrom, memoryStatsMax } from './memory-stats.ts';
import { decodeParams, encodeParams, type ParamValues, paramsFrom, type TypedParam } from './params.ts';
import { type Procedure, qemu, remote } from './procedures.ts';
import { ReconnectingConnection, type ReconnectOptions } from './reconnecting.ts';
import type { CallOptions, LongCallOptions, Rpc } from './rpc.ts';
import { on, ShapeCalls } from './shape.ts';
import { type DomainState, describeState } from './state.ts';
import { type MigrateTuning, migrateParams } from './tuning.ts';
import { Encoder } from './xdr.ts';

/** Statistics of one domain, by libvirt's names (`cpu.time` in ns, `balloon.rss` in KiB, ...: see virConnectGetAllDomainStats). */
export interface DomainStats {
  readonly domain: Domain;
  readonly stats: ParamValues;
}

export interface JobStats {
  readonly type: 'none' | 'bounded' | 'unbounded' | 'completed' | 'failed' | 'cancelled' | 'unknown';
  /** `operation` (see jobOperation), `time_elapsed` ms, `memory_processed` bytes, `downtime` ms, ... */
  readonly params: ParamValues;
}

export interface Versions {
  /** E.g. "9.0.0". */
  readonly libvirt: string;
  /** Of the driver's hypervisor, e.g. QEMU's "7.2.22"; the test driver says "0.0.2". */
  readonly hypervisor: string;
}

/**
 * libvirt's calls, typed. Every call rejects with LibvirtError (the daemon says no; see the isX guards), ConnectionLost, CallTimeout (default 30 s), QueueFull, or the reason
 * of its signal. Flags default to 0; those that change a domain default to the running one (`modify.live`). Bits are in flags.ts.
 */
export class Libvirt<Connected extends Rpc = Rpc> extends ShapeCalls<Connected> {
  /** One connection, gone when it is lost. */
  static async open(uri: string, options?: ConnectionOptions): Promise<Libvirt<Connection>> {
    return new Libvirt(await Connection.open(uri, options));
  }

  /** A connection that comes back; returns at once, `rpc.ready()` waits for the first. */
  static openReconnecting(
    uri: string,
    options?: ConnectionOptions & ReconnectOptions,
  ): Libvirt<ReconnectingConnection> {
    return new Libvirt(new ReconnectingConnection(uri, options));
  }

  close(): Promise<void> {
    return this.rpc.close();
  }

  // ---- the host

  async version(options?: CallOptions): Promise<Versions> {
    const ask = (procedure: Procedure) =>
      this.rpc.call(procedure, new Encoder(), (from) => dottedVersion(from.u64()), options);
    const [libvirt, hypervisor] = await Promise.all([
      ask(remote.connectGetLibVersion),
      ask(remote.connectGetVersion),
    ]);
    return { libvirt, hypervisor };
  }

  hostname(options?: CallOptions): Promise<string> {
    return this.string(remote.connectGetHostname, new Encoder(), options);
  }

  capabilitiesXml(options?: CallOptions): Promise<string> {
    return this.string(remote.connectGetCapabilities, new Encoder(), options);
  }

  /** What a machine of that kind may have; undefined: the daemon's default. */
  domainCapabilitiesXml(
    of: { emulator?: string; arch?: string; machine?: string; type?: 'kvm' | 'qemu' } = {},
    options?: CallOptions,
  ): Promise<string> {
    const args = new Encoder().optionalString(of.emulator).optionalString(of.arch);
    args.optionalString(of.machine).optionalString(of.type).u32(0);
    return this.string(remote.connectGetDomainCapabilities, args, options);
  }

  // ---- finding domains

  lookupByName(name: string, options?: CallOptions): Promise<Domain> {
    return this.rpc.call(remote.domainLookupByName, new Encoder().string(name), decodeDomain, options);
  }

  lookupByUuid(uuid: string, options?: CallOptions): Promise<Domain> {
    return this.rpc.call(remote.domainLookupByUuid, encodeUuid(new Encoder(), uuid), decodeDomain, options);
  }

  /** Filter by listFlags; 0: all. */
  listDomains(flags = 0, options?: CallOptions): Promise<Domain[]> {
    const args = new Encoder().i32(1).u32(flags); // 1: names wanted, not only their number
    return this.rpc.call(
      remote.connectListAllDomains,
      args,
      (from) => from.array(domainMinimumBytes, () => decodeDomain(from)),
      options,
    );
  }

  xml(domain: Domain, flags = 0, options?: CallOptions): Promise<string> {
    return this.string(remote.domainGetXmlDesc, on(domain).u32(flags), options);
  }

  /** Element metadata: the XML of namespace `uri`. Rejects with isNoDomainMetadata when there is none. */
  getMetadata(
    domain: Domain,
    type: number,
    uri: string | undefined,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<string> {
    return this.string(
      remote.domainGetMetadata,
      on(domain).i32(type).optionalString(uri).u32(flags),
      options,
    );
  }

  /** `value` undefined removes it. `key` is the XML prefix, `uri` the namespace of element metadata. */
  setMetadata(
    domain: Domain,
    type: number,
    value: string | undefined,
    key: string | undefined,
    uri: string | undefined,
    flags: number = modify.live,
    options?: CallOptions,
  ): Promise<void> {
    const args = on(domain).i32(type).optionalString(value).optionalString(key).optionalString(uri);
    return this.run(remote.domainSetMetadata, args.u32(flags), options);
  }

  // ---- life

  /** Starts a transient domain. Flags: createFlags. */
  createXml(xml: string, flags = 0, options?: CallOptions): Promise<Domain> {
    return this.rpc.call(remote.domainCreateXml, new Encoder().string(xml).u32(flags), decodeDomain, options);
  }

  state(domain: Domain, options?: CallOptions): Promise<DomainState> {
    return this.rpc.call(
      remote.domainGetState,
      on(domain).u32(0),
      (from) => describeState(from.i32(), from.i32()),
      options,
    );
  }

  suspend(domain: Domain, options?: CallOptions): Promise<void> {
    return this.run(remote.domainSuspend, on(domain), options);
  }

  resume(domain: Domain, options?: CallOptions): Promise<void> {
    return this.run(remote.domainResume, on(domain), options);
  }

  /** Asks the guest (ACPI); resolves when asked, not when it is off. */
  shutdown(domain: Domain, options?: CallOptions): Promise<void> {
    return this.run(remote.domainShutdown, on(domain), options);
  }

  reboot(domain: Domain, flags = 0, options?: CallOptions): Promise<void> {
    return this.run(remote.domainReboot, on(domain).u32(flags), options);
  }

  destroy(domain: Domain, flags = 0, options?: CallOptions): Promise<void> {
    return this.run(remote.domainDestroyFlags, on(domain).u32(flags), options);
  }

  // ---- saving and moving

  /** Writes the machine to the file `to` and ends it. A restore may use `dxml`, made from the live XML (migratable | secure) with only host paths changed. */
  save(
    domain: Domain,
    to: string,
    options: LongCallOptions & { readonly dxml?: string | undefined; readonly flags?: number | undefined },
  ): Promise<void> {
    const args = on(domain)
      .string(to)
      .optionalString(options.dxml)
      .u32(options.flags ?? 0);
    return this.run(remote.domainSaveFlags, args, options);
  }

  /** Starts the machine saved in `from`. Flags: saveFlags (`running` or `paused` override how it was saved). */
  restore(
    from: string,
    options: LongCallOptions & { readonly dxml?: string | undefined; readonly flags?: number | undefined },
  ): Promise<void> {
    const args = new Encoder()
      .string(from)
      .optionalString(options.dxml)
      .u32(options.flags ?? 0);
    return this.run(remote.domainRestoreFlags, args, options);
  }

  /** The domain XML in a save image. Flags: xmlFlags.secure. */
  saveImageXml(file: string, flags = 0, options?: CallOptions): Promise<string> {
    return this.string(remote.domainSaveImageGetXmlDesc, new Encoder().string(file).u32(flags), options);
  }

  /** Returns the snapshot's name. Flags: snapshotFlags. */
  snapshotCreateXml(domain: Domain, xml: string, flags: number, options: LongCallOptions): Promise<string> {
    const args = on(domain).string(xml).u32(flags);
    return this.rpc.call(remote.domainSnapshotCreateXml, args, (from) => from.string(), options);
  }

  /**
   * The domain's own daemon connects to `destination` and moves the machine there (virDomainMigrateToURI3): flags must hold
   * migrateFlags.peer2peer. Resolves when it runs there.
   */
  migrate(
    domain: Domain,
    destination: string,
    params: MigrateTuning,
    flags: number,
    options: LongCallOptions,
  ): Promise<void> {
    const { migrate_disks: disks = [], ...single } = params;
    const typed: TypedParam[] = paramsFrom(migrateParams, single);
    for (const disk of disks) typed.push({ name: 'migrate_disks', type: 'string', value: disk });
    const args = encodeParams(on(domain).optionalString(destination), typed);
    return this.run(remote.domainMigratePerform3Params, args.opaque(Buffer.alloc(0)).u32(flags), options);
  }

  setMigrateMaxDowntime(domain: Domain, downtimeMs: number, options?: CallOptions): Promise<void> {
    return this.run(remote.domainMigrateSetMaxDowntime, on(domain).u64(downtimeMs).u32(0), options);
  }

  /** Holds for migration, save and snapshot alike. */
  setMigrateMaxSpeed(domain: Domain, mibPerSecond: number, options?: CallOptions): Promise<void> {
    return this.run(remote.domainMigrateSetMaxSpeed, on(domain).u64(mibPerSecond).u32(0), options);
  }

  /** Flags: jobStatsFlags. */
  jobStats(domain: Domain, flags = 0, options?: CallOptions): Promise<JobStats> {
    return this.rpc.call(
      remote.domainGetJobStats,
      on(domain).u32(flags),
      (from) => ({ type: jobTypes[from.i32()] ?? 'unknown', params: decodeParams(from) }),
      options,
    );
  }

  /** Rejects with isOperationInvalid when there is no job. */
  abortJob(domain: Domain, options?: CallOptions): Promise<void> {
    return this.run(remote.domainAbortJob, on(domain), options);
  }

  // ---- measuring

  memoryStats(domain: Domain, options?: CallOptions): Promise<MemoryStats> {
    const args = on(domain).u32(memoryStatsMax).u32(0);
    return this.rpc.call(
      remote.domainMemoryStats,
      args,
      (from) => memoryStatsFrom(from.array(12, () => ({ tag: from.i32(), value: from.u64() }))),
      options,
    );
  }

  /** `groups`: statsGroups, 0 = all. `flags`: statsFlags. Without `domains`: of all that the flags choose. About 2 ms of CPU a running VM. */
  allDomainStats(
    groups: number,
    flags = 0,
    domains: readonly Domain[] = [],
    options?: CallOptions,
  ): Promise<DomainStats[]> {
    const args = new Encoder().u32(domains.length);
    for (const domain of domains) encodeDomain(args, domain);
    return this.rpc.call(
      remote.connectGetAllDomainStats,
      args.u32(groups).u32(flags),
      (from) =>
        from.array(domainMinimumBytes + 4, () => ({ domain: decodeDomain(from), stats: decodeParams(from) })),
      options,
    );
  }

  // ---- QEMU's own monitor

  /**
   * Sends a QMP command and returns its `return` value. A QMP error rejects with QmpError. What changes the machine behind libvirt's back taints it: ask, do not tell.
   */
  async monitorCommand(
    domain: Domain,
    command: { readonly execute: string; readonly arguments?: Readonly<Record<string, unknown>> },
    options?: CallOptions,
  ): Promise<unknown> {
    const args = on(domain).string(JSON.stringify(command)).u32(0);
    const reply: unknown = JSON.parse(await this.string(qemu.monitorCommand, args, options));
    if (isRecord(reply) && 'return' in reply) return reply.return;
    const error = isRecord(reply) && isRecord(reply.error) ? reply.error : {};
    throw new QmpError(
      command.execute,
      String(error.class ?? 'unknown'),
      String(error.desc ?? 'no description'),
    );
  }
}

/** QEMU itself refused a monitor command. */
export class QmpError extends Error {
  override name = 'QmpError';
  /** E.g. CommandNotFound, GenericError. */
  readonly errorClass: string;

  constructor(command: string, errorClass: string, description: string) {
    super(`QEMU refused ${command}: ${description}`);
    this.errorClass = errorClass;
  }
}

/** virDomainJobType. */
const jobTypes = ['none', 'bounded', 'unbounded', 'completed', 'failed', 'cancelled'] as const;

/** libvirt packs a version as major * 1,000,000 + minor * 1,000 + release. */
function dottedVersion(packed: bigint): string {
  const number = Number(packed);
  return `${Math.floor(number / 1_000_000)}.${Math.floor(number / 1000) % 1000}.${number % 1000}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
