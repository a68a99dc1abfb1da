/**
 * The procedures of libvirt's wire protocol that we use. Libvirt never renumbers one (old clients talk to new daemons), so the numbers are facts;
 * the integration test pins them against a real daemon. What each takes and returns is written at its call in libvirt.ts and events.ts.
 */

export interface Procedure {
  readonly program: number;
  readonly number: number;
  /** For messages. */
  readonly name: string;
}

export const program = { remote: 0x20008086, qemu: 0x20008087, keepalive: 0x6b656570 } as const;

/** All three programs are at version 1. */
export const protocolVersion = 1;

export const keepaliveMessage = { ping: 1, pong: 2 } as const;

export const remote = named(program.remote, {
  connectOpen: 1,
  connectClose: 2,
  connectGetVersion: 4,
  connectGetCapabilities: 7,
  domainCreateXml: 10,
  domainGetXmlDesc: 14,
  domainLookupByName: 23,
  domainLookupByUuid: 24,
  domainReboot: 27,
  domainResume: 28,
  domainShutdown: 33,
  domainSuspend: 34,
  connectGetHostname: 59,
  connectSupportsFeature: 60,
  authList: 66,
  connectGetLibVersion: 157,
  domainMemoryStats: 159,
  domainAttachDeviceFlags: 160,
  domainDetachDeviceFlags: 161,
  domainAbortJob: 164,
  domainMigrateSetMaxDowntime: 166,
  domainUpdateDeviceFlags: 174,
  domainSnapshotCreateXml: 185,
  domainSetMemoryParameters: 197,
  domainSetVcpusFlags: 199,
  domainGetVcpusFlags: 200,
  domainSetMemoryFlags: 204,
  domainSetBlkioParameters: 205,
  domainMigrateSetMaxSpeed: 207,
  domainGetState: 212,
  domainSetSchedulerParametersFlags: 219,
  domainGetSchedulerParametersFlags: 223,
  domainPinVcpuFlags: 225,
  domainSaveFlags: 232,
  domainRestoreFlags: 233,
  domainDestroyFlags: 234,
  domainSaveImageGetXmlDesc: 235,
  domainSetBlockIoTune: 252,
  domainSetInterfaceParameters: 256,
  domainSetMetadata: 264,
  domainGetMetadata: 265,
  connectListAllDomains: 273,
  domainPinEmulator: 279,
  domainGetJobStats: 298,
  domainMigratePerform3Params: 305,
  domainSetMemoryStatsPeriod: 308,
  eventCallbackRegisterAny: 316,
  eventCallbackDeregisterAny: 317,
  connectGetDomainCapabilities: 342,
  connectGetAllDomainStats: 344,
});

export const qemu = named(program.qemu, { monitorCommand: 1 });

function named<Name extends string>(
  ofProgram: number,
  numbers: Readonly<Record<Name, number>>,
): Readonly<Record<Name, Procedure>> {
  const table = Object.entries<number>(numbers).map(([name, number]) => [
    name,
    { program: ofProgram, number, name },
  ]);
  return Object.fromEntries(table) as Record<Name, Procedure>;
}
