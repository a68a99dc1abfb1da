import type { Decoder } from './xdr.ts';

/** Names of the codes that callers decide on (virErrorNumber in virterror.h). Others keep their number. */
export const errorCode = {
  internal: 1,
  noSupport: 3,
  invalidArgument: 8,
  operationFailed: 9,
  xml: 27,
  domainExists: 28,
  operationDenied: 29,
  xmlDetail: 35,
  system: 38,
  rpc: 39,
  noDomain: 42,
  authFailed: 45,
  operationInvalid: 55,
  configUnsupported: 67,
  operationTimeout: 68,
  migratePersistFailed: 69,
  noDomainSnapshot: 72,
  argumentUnsupported: 74,
  operationAborted: 78,
  noDomainMetadata: 80,
  migrateUnsafe: 81,
  operationUnsupported: 84,
  agentUnresponsive: 86,
  resourceBusy: 87,
  accessDenied: 88,
  cpuIncompatible: 91,
  migrateFinishOk: 93,
  deviceMissing: 99,
} as const;

/** The daemon carried out the call and it failed; `code` says how (see errorCode). */
export class LibvirtError extends Error {
  override name = 'LibvirtError';
  readonly code: number;
  /** Which part of libvirt said it (virErrorDomain), e.g. 10 = the QEMU driver. */
  readonly source: number;
  /** 1 warning, 2 error. */
  readonly level: number;

  constructor(code: number, source: number, message: string, level: number) {
    super(message);
    this.code = code;
    this.source = source;
    this.level = level;
  }
}

/** The connection ended with the call queued or in flight. Whether the daemon carried it out is unknown unless `sent` is false. */
export class ConnectionLost extends Error {
  override name = 'ConnectionLost';
  /** False: the call never left this process, so it was certainly not carried out. */
  readonly sent: boolean;

  constructor(message: string, options: { cause?: unknown; sent?: boolean } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.sent = options.sent ?? true;
  }
}

/** No reply within the call's deadline. The daemon may still carry it out. */
export class CallTimeout extends Error {
  override name = 'CallTimeout';
  readonly sent: boolean;

  constructor(message: string, sent: boolean) {
    super(message);
    this.sent = sent;
  }
}

/** More calls are waiting than the connection's bound: the caller must slow down. */
export class QueueFull extends Error {
  override name = 'QueueFull';
}

/** The peer does not speak libvirt's protocol as we know it. */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
}

export function isLibvirtError(error: unknown): error is LibvirtError {
  return error instanceof LibvirtError;
}

export function isConnectionLost(error: unknown): error is ConnectionLost {
  return error instanceof ConnectionLost;
}

export function isCallTimeout(error: unknown): error is CallTimeout {
  return error instanceof CallTimeout;
}

export function isQueueFull(error: unknown): error is QueueFull {
  return error instanceof QueueFull;
}

/** The domain does not exist, or no longer. */
export const isNoDomain = guard(errorCode.noDomain);
/** A domain of that name or uuid is already there. Libvirt 9 says it for an active one with operationFailed: see isOperationFailed. */
export const isDomainExists = guard(errorCode.domainExists);
export const isOperationFailed = guard(errorCode.operationFailed);
/** Not possible in the domain's present state (e.g. it is not running). */
export const isOperationInvalid = guard(errorCode.operationInvalid);
/** The domain is busy with another job (save, migration), and that did not end within libvirt's own 30 s. */
export const isOperationTimeout = guard(errorCode.operationTimeout);
/** Ended by abortJob. */
export const isOperationAborted = guard(errorCode.operationAborted);
/** This driver does not have the call. */
export const isNoSupport = guard(errorCode.noSupport);
export const isOperationUnsupported = guard(errorCode.operationUnsupported);
export const isArgumentUnsupported = guard(errorCode.argumentUnsupported);
export const isConfigUnsupported = guard(errorCode.configUnsupported);
export const isNoDomainMetadata = guard(errorCode.noDomainMetadata);
export const isMigrateUnsafe = guard(errorCode.migrateUnsafe);
export const isResourceBusy = guard(errorCode.resourceBusy);
export const isAccessDenied = guard(errorCode.accessDenied);
export const isDeviceMissing = guard(errorCode.deviceMissing);
export const isInvalidArgument = guard(errorCode.invalidArgument);
/** The XML was malformed or made no sense to libvirt. */
export function isXmlError(error: unknown): error is LibvirtError {
  return isLibvirtError(error) && (error.code === errorCode.xml || error.code === errorCode.xmlDetail);
}

/** Decodes the body of a reply with status "error". What follows the level (strings and objects we do not use) is left unread. */
export function decodeError(from: Decoder): LibvirtError {
  const code = from.i32();
  const source = from.i32();
  const message = from.optionalString() ?? `libvirt error ${code} without a message`;
  return new LibvirtError(code, source, message, from.i32());
}

function guard(code: number): (error: unknown) => error is LibvirtError {
  return (error): error is LibvirtError => error instanceof LibvirtError && error.code === code;
}
