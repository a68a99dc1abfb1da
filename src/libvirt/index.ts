/**
 * A client for libvirt's wire protocol: no native code, no dependency, nothing of Caddis in it.
 *
 * ```ts
 * const libvirt = await Libvirt.open('qemu:///system');
 * const domain = await libvirt.lookupByName('m1');
 * await libvirt.suspend(domain);
 * await libvirt.save(domain, '/var/lib/m1.save', { timeoutMs: 60_000, flags: saveFlags.paused });
 * ```
 */
export { Connection, type ConnectionOptions } from './connection.ts';
export type { Domain } from './domain.ts';
export {
  CallTimeout,
  ConnectionLost,
  errorCode,
  isAccessDenied,
  isArgumentUnsupported,
  isCallTimeout,
  isConfigUnsupported,
  isConnectionLost,
  isDeviceMissing,
  isDomainExists,
  isInvalidArgument,
  isLibvirtError,
  isMigrateUnsafe,
  isNoDomain,
  isNoDomainMetadata,
  isNoSupport,
  isOperationAborted,
  isOperationFailed,
  isOperationInvalid,
  isOperationTimeout,
  isOperationUnsupported,
  isQueueFull,
  isResourceBusy,
  isXmlError,
  LibvirtError,
  ProtocolError,
  QueueFull,
} from './errors.ts';
export { type EventStream, EventsOverflowed, openEventStream } from './event-stream.ts';
export type { DomainEvent, DomainEventKind, DomainEventOf } from './events.ts';
export {
  createFlags,
  destroyFlags,
  jobOperation,
  jobStatsFlags,
  listFlags,
  metadataType,
  migrateFlags,
  modify,
  saveFlags,
  snapshotFlags,
  statsFlags,
  statsGroups,
  vcpuFlags,
  xmlFlags,
} from './flags.ts';
export type { KeepaliveOptions } from './keepalive.ts';
export { type DomainStats, type JobStats, Libvirt, QmpError, type Versions } from './libvirt.ts';
export type { MemoryStats } from './memory-stats.ts';
export type { ParamValues, TypedParam } from './params.ts';
export { ReconnectingConnection, type ReconnectOptions } from './reconnecting.ts';
export type { CallOptions, LongCallOptions, Rpc, Subscription } from './rpc.ts';
export type { DomainState } from './state.ts';
export { defaultSocketPath, type Endpoint } from './transport.ts';
export type {
  BlkioTuning,
  BlockIoTuning,
  InterfaceTuning,
  MemoryTuning,
  MigrateTuning,
  SchedulerTuning,
} from './tuning.ts';
