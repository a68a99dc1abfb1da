/** What a domain does and why, in words. */
export interface DomainState {
  readonly state: string;
  readonly reason: string;
}

/** virDomainState and its reason enums, in their order (libvirt-domain.h). */
const states: readonly { readonly state: string; readonly reasons: readonly string[] }[] = [
  { state: 'nostate', reasons: ['unknown'] },
  {
    state: 'running',
    reasons: [
      'unknown',
      'booted',
      'migrated',
      'restored',
      'fromSnapshot',
      'unpaused',
      'migrationCanceled',
      'saveCanceled',
      'wakeup',
      'crashed',
      'postcopy',
      'postcopyFailed',
    ],
  },
  { state: 'blocked', reasons: ['unknown'] },
  {
    state: 'paused',
    reasons: [
      'unknown',
      'user',
      'migration',
      'save',
      'dump',
      'ioError',
      'watchdog',
      'fromSnapshot',
      'shuttingDown',
      'snapshot',
      'crashed',
      'startingUp',
      'postcopy',
      'postcopyFailed',
    ],
  },
  { state: 'shutdown', reasons: ['unknown', 'user'] },
  {
    state: 'shutoff',
    reasons: [
      'unknown',
      'shutdown',
      'destroyed',
      'crashed',
      'migrated',
      'saved',
      'failed',
      'fromSnapshot',
      'daemon',
    ],
  },
  { state: 'crashed', reasons: ['unknown', 'panicked'] },
  { state: 'pmsuspended', reasons: ['unknown'] },
];

/** Numbers that libvirt may add later come out as `unknown-N`. */
export function describeState(state: number, reason: number): DomainState {
  const known = states[state];
  return {
    state: known?.state ?? `unknown-${state}`,
    reason: known?.reasons[reason] ?? `unknown-${reason}`,
  };
}
