/** Bits of libvirt's flag arguments (libvirt-domain.h), to be joined with `|`. */

/** What a change affects. `current`: the running domain if it runs, else its definition. */
export const modify = { current: 0, live: 1, config: 2 } as const;

export const createFlags = { paused: 1, autodestroy: 2, validate: 16 } as const;

export const xmlFlags = { secure: 1, inactive: 2, updateCpu: 4, migratable: 8 } as const;

export const listFlags = {
  active: 1,
  inactive: 2,
  persistent: 4,
  transient: 8,
  running: 16,
  paused: 32,
} as const;

/** `graceful`: SIGTERM only, and an error if QEMU does not go. */
export const destroyFlags = { graceful: 1, removeLogs: 2 } as const;

/** For save and restore: how the machine starts when it is restored. */
export const saveFlags = { bypassCache: 1, running: 2, paused: 4 } as const;

export const snapshotFlags = {
  noMetadata: 4,
  halt: 8,
  diskOnly: 16,
  reuseExternal: 32,
  quiesce: 64,
  atomic: 128,
  live: 256,
} as const;

export const vcpuFlags = { ...modify, maximum: 4, guest: 8, hotpluggable: 16 } as const;

export const migrateFlags = {
  live: 1,
  peer2peer: 2,
  tunnelled: 4,
  paused: 32,
  nonSharedDisk: 64,
  nonSharedIncremental: 128,
  changeProtection: 256,
  unsafe: 512,
  abortOnError: 4096,
  autoConverge: 8192,
  tls: 65536,
  parallel: 131072,
} as const;

/** Groups of allDomainStats. */
export const statsGroups = {
  state: 1,
  cpuTotal: 2,
  balloon: 4,
  vcpu: 8,
  interface: 16,
  block: 32,
  perf: 64,
  iothread: 128,
  memory: 256,
  dirtyRate: 512,
} as const;

/** `noWait`: report only what can be had while another job (a save) holds the domain; without it one busy domain stalls all. */
export const statsFlags = {
  active: 1,
  inactive: 2,
  running: 16,
  paused: 32,
  noWait: 2 ** 29,
} as const;

/** `completed`: of the job that ended last; `keepCompleted`: and leave it there for the next who asks. */
export const jobStatsFlags = { completed: 1, keepCompleted: 2 } as const;

export const metadataType = { description: 0, title: 1, element: 2 } as const;

/** `params.operation` of a job (virDomainJobOperation). */
export const jobOperation = {
  unknown: 0,
  start: 1,
  save: 2,
  restore: 3,
  migrationIn: 4,
  migrationOut: 5,
  snapshot: 6,
  snapshotRevert: 7,
  dump: 8,
} as const;
