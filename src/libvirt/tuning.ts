/**
 * Names and types of the parameters that limit a domain, as libvirt 9 has them (virsh schedinfo, memtune, blkdeviotune, domiftune). Values keep
 * libvirt's own names, which are in its documentation; units are said here.
 */

/** Shares are relative weights; periods and quotas are microseconds, quota -1 = none; `vcpu_*` count for each vCPU, `global_*` for all. */
export const schedulerParams = {
  cpu_shares: 'ullong',
  vcpu_period: 'ullong',
  vcpu_quota: 'llong',
  emulator_period: 'ullong',
  emulator_quota: 'llong',
  global_period: 'ullong',
  global_quota: 'llong',
  iothread_period: 'ullong',
  iothread_quota: 'llong',
} as const;

/** KiB of the QEMU process: RAM and QEMU's own. */
export const memoryParams = {
  hard_limit: 'ullong',
  soft_limit: 'ullong',
  swap_hard_limit: 'ullong',
} as const;

/** Bytes or operations a second; `_max` is the burst, `_max_length` its seconds; 0 = none. Disks of one `group_name` share the limit. */
export const blockIoTuneParams = {
  total_bytes_sec: 'ullong',
  read_bytes_sec: 'ullong',
  write_bytes_sec: 'ullong',
  total_iops_sec: 'ullong',
  read_iops_sec: 'ullong',
  write_iops_sec: 'ullong',
  total_bytes_sec_max: 'ullong',
  read_bytes_sec_max: 'ullong',
  write_bytes_sec_max: 'ullong',
  total_iops_sec_max: 'ullong',
  read_iops_sec_max: 'ullong',
  write_iops_sec_max: 'ullong',
  size_iops_sec: 'ullong',
  group_name: 'string',
  total_bytes_sec_max_length: 'ullong',
  read_bytes_sec_max_length: 'ullong',
  write_bytes_sec_max_length: 'ullong',
  total_iops_sec_max_length: 'ullong',
  read_iops_sec_max_length: 'ullong',
  write_iops_sec_max_length: 'ullong',
} as const;

/** Cgroup weight, 100 to 1000 (1 to 1000 on cgroup v2); the device lists are libvirt's `/dev/a,500,/dev/b,100`. */
export const blkioParams = {
  weight: 'uint',
  device_weight: 'string',
  device_read_bytes_sec: 'string',
  device_write_bytes_sec: 'string',
} as const;

/** KiB a second, `burst` in KiB; 0 = none. Inbound is towards the guest. */
export const interfaceParams = {
  'inbound.average': 'uint',
  'inbound.peak': 'uint',
  'inbound.burst': 'uint',
  'inbound.floor': 'uint',
  'outbound.average': 'uint',
  'outbound.peak': 'uint',
  'outbound.burst': 'uint',
} as const;

/** Migration (virsh migrate). `bandwidth` is MiB a second; `migrate_uri` is where QEMU's own stream goes. */
export const migrateParams = {
  migrate_uri: 'string',
  destination_name: 'string',
  destination_xml: 'string',
  bandwidth: 'ullong',
  listen_address: 'string',
  disks_port: 'int',
  'auto_converge.initial': 'int',
  'auto_converge.increment': 'int',
  'parallel.connections': 'int',
  'tls.destination': 'string',
} as const;

type ValueOf<Type> = Type extends 'string' ? string : number | bigint;

/** The object form of one of the tables above; every value may be left out. */
type Tuning<Table> = { readonly [Name in keyof Table]?: ValueOf<Table[Name]> | undefined };

export type SchedulerTuning = Tuning<typeof schedulerParams>;
export type MemoryTuning = Tuning<typeof memoryParams>;
export type BlockIoTuning = Tuning<typeof blockIoTuneParams>;
export type BlkioTuning = Tuning<typeof blkioParams>;
export type InterfaceTuning = Tuning<typeof interfaceParams>;
/** `migrate_disks`: which disks are copied, by target name; without it all that are neither shared nor read-only. */
export type MigrateTuning = Tuning<typeof migrateParams> & {
  readonly migrate_disks?: readonly string[] | undefined;
};
