import { type Domain, decodeDomain } from './domain.ts';
import { decodeParams, type ParamValues } from './params.ts';
import type { Decoder } from './xdr.ts';

/** What happens to domains, as the daemon tells it. Numbers that libvirt may add later come through as `unknown-N`. */
export type DomainEvent =
  /** `event`: what happened; `reason`: why, e.g. stopped/saved. A crash is crashed/panicked (with on_crash=preserve) or stopped/crashed. */
  | { readonly kind: 'lifecycle'; readonly domain: Domain; readonly event: string; readonly reason: string }
  | { readonly kind: 'reboot'; readonly domain: Domain }
  | { readonly kind: 'watchdog'; readonly domain: Domain; readonly action: number }
  /** `reason` is e.g. "enospc". */
  | {
      readonly kind: 'ioError';
      readonly domain: Domain;
      readonly path: string;
      readonly device: string;
      readonly action: number;
      readonly reason: string;
    }
  | { readonly kind: 'balloonChange'; readonly domain: Domain; readonly actualKib: number }
  | { readonly kind: 'deviceAdded'; readonly domain: Domain; readonly alias: string }
  | { readonly kind: 'deviceRemoved'; readonly domain: Domain; readonly alias: string }
  | { readonly kind: 'deviceRemovalFailed'; readonly domain: Domain; readonly alias: string }
  /** The guest opened or closed the `org.qemu.guest_agent.0` port. */
  | {
      readonly kind: 'agentLifecycle';
      readonly domain: Domain;
      readonly state: string;
      readonly reason: number;
    }
  | { readonly kind: 'migrationIteration'; readonly domain: Domain; readonly iteration: number }
  /** A save, restore, migration or snapshot ended; see jobOperation for `params.operation`. */
  | { readonly kind: 'jobCompleted'; readonly domain: Domain; readonly params: ParamValues }
  /** A virtio-mem device reached another size. */
  | {
      readonly kind: 'memoryDeviceSizeChange';
      readonly domain: Domain;
      readonly alias: string;
      readonly sizeKib: number;
    };

export type DomainEventKind = DomainEvent['kind'];
export type DomainEventOf<Kind extends DomainEventKind> = Extract<DomainEvent, { readonly kind: Kind }>;

interface EventType<Kind extends DomainEventKind> {
  /** virDomainEventID. */
  readonly id: number;
  /** The procedure that carries it for registrations by callback (316). */
  readonly procedure: number;
  /** Decodes what follows the callback id. */
  readonly decode: (from: Decoder) => DomainEventOf<Kind>;
}

export const eventTypes: { readonly [Kind in DomainEventKind]: EventType<Kind> } = {
  lifecycle: { id: 0, procedure: 318, decode: decodeLifecycle },
  reboot: { id: 1, procedure: 319, decode: (from) => ({ kind: 'reboot', domain: decodeDomain(from) }) },
  watchdog: {
    id: 3,
    procedure: 321,
    decode: (from) => ({ kind: 'watchdog', domain: decodeDomain(from), action: from.i32() }),
  },
  ioError: {
    id: 6,
    procedure: 324,
    decode: (from) => ({
      kind: 'ioError',
      domain: decodeDomain(from),
      path: from.string(),
      device: from.string(),
      action: from.i32(),
      reason: from.string(),
    }),
  },
  balloonChange: {
    id: 13,
    procedure: 331,
    decode: (from) => ({ kind: 'balloonChange', domain: decodeDomain(from), actualKib: Number(from.u64()) }),
  },
  deviceRemoved: { id: 15, procedure: 333, decode: (from) => decodeDevice(from, 'deviceRemoved') },
  agentLifecycle: {
    id: 18,
    procedure: 348,
    decode: (from) => ({
      kind: 'agentLifecycle',
      domain: decodeDomain(from),
      state: nameOf(['', 'connected', 'disconnected'], from.i32()),
      reason: from.i32(),
    }),
  },
  deviceAdded: { id: 19, procedure: 354, decode: (from) => decodeDevice(from, 'deviceAdded') },
  migrationIteration: {
    id: 20,
    procedure: 359,
    decode: (from) => ({ kind: 'migrationIteration', domain: decodeDomain(from), iteration: from.i32() }),
  },
  jobCompleted: {
    id: 21,
    procedure: 363,
    decode: (from) => ({ kind: 'jobCompleted', domain: decodeDomain(from), params: decodeParams(from) }),
  },
  deviceRemovalFailed: {
    id: 22,
    procedure: 367,
    decode: (from) => decodeDevice(from, 'deviceRemovalFailed'),
  },
  memoryDeviceSizeChange: {
    id: 26,
    procedure: 438,
    decode: (from) => ({
      kind: 'memoryDeviceSizeChange',
      domain: decodeDomain(from),
      alias: from.string(),
      sizeKib: Number(from.u64()),
    }),
  },
};

/** Which kind of event a procedure carries; undefined for those we never register. */
export function eventKindOf(procedure: number): DomainEventKind | undefined {
  return kindByProcedure.get(procedure);
}

const kindByProcedure = new Map<number, DomainEventKind>(
  Object.entries(eventTypes).map(([kind, type]) => [type.procedure, kind as DomainEventKind]),
);

/** Events of a domain's life and their reasons, by number (virDomainEventType and its detail enums in libvirt-domain.h). */
const lifecycleEvents: readonly { readonly event: string; readonly reasons: readonly string[] }[] = [
  { event: 'defined', reasons: ['added', 'updated', 'renamed', 'fromSnapshot'] },
  { event: 'undefined', reasons: ['removed', 'renamed'] },
  { event: 'started', reasons: ['booted', 'migrated', 'restored', 'fromSnapshot', 'wakeup'] },
  {
    event: 'suspended',
    reasons: [
      'paused',
      'migrated',
      'ioError',
      'watchdog',
      'restored',
      'fromSnapshot',
      'apiError',
      'postcopy',
      'postcopyFailed',
    ],
  },
  { event: 'resumed', reasons: ['unpaused', 'migrated', 'fromSnapshot', 'postcopy', 'postcopyFailed'] },
  {
    event: 'stopped',
    reasons: ['shutdown', 'destroyed', 'crashed', 'migrated', 'saved', 'failed', 'fromSnapshot'],
  },
  { event: 'shutdown', reasons: ['finished', 'guest', 'host'] },
  { event: 'pmsuspended', reasons: ['memory', 'disk'] },
  { event: 'crashed', reasons: ['panicked', 'crashloaded'] },
];

function decodeLifecycle(from: Decoder): DomainEventOf<'lifecycle'> {
  const domain = decodeDomain(from);
  const event = from.i32();
  const reason = from.i32();
  const known = lifecycleEvents[event];
  return {
    kind: 'lifecycle',
    domain,
    event: known?.event ?? `unknown-${event}`,
    reason: nameOf(known?.reasons ?? [], reason),
  };
}

function decodeDevice<Kind extends 'deviceAdded' | 'deviceRemoved' | 'deviceRemovalFailed'>(
  from: Decoder,
  kind: Kind,
): { kind: Kind; domain: Domain; alias: string } {
  return { kind, domain: decodeDomain(from), alias: from.string() };
}

function nameOf(names: readonly string[], number: number): string {
  return names[number] ?? `unknown-${number}`;
}
