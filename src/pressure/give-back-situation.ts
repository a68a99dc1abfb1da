import type { CpuSituation } from './give-back-cpu.ts';
import type { MemorySituation } from './give-back-memory.ts';
import type { JobLoad, NodeLoad } from './node.ts';

/** What owners have, take and want; undefined where the host or one of them was not seen. */
export function ownersSituation(load: NodeLoad): {
  readonly memory: MemorySituation | undefined;
  readonly cpu: CpuSituation | undefined;
} {
  const owners = load.jobs.filter(({ isBorrower, isSteady }) => !isBorrower && isSteady);
  // One that has no process yet, or none any more, is starting or ending: it is not steady.
  const seen = owners.flatMap(({ usage, ...rest }) => (usage ? [{ ...rest, usage }] : []));
  if (!load.memory || seen.length < owners.length) return { memory: undefined, cpu: undefined };
  const heldBytes = sum(load.jobs, ({ usage }) => usage?.residentBytes ?? 0);
  const { availableBytes, keptBytes, capacityBytes } = load.memory;
  return {
    memory: {
      leftBytes: Math.min(availableBytes - keptBytes, capacityBytes - heldBytes),
      capacityBytes,
      idleBytes: sum(load.jobs, idleBytes),
      growthBytesPerSecond: sum(seen, ({ reservedBytes, usage }) =>
        // One that has all that it reserved grows no more, whatever it did in the last second.
        reservedBytes > usage.residentBytes ? usage.growthNowBytesPerSecond : 0,
      ),
    },
    cpu: {
      cpus: load.cpus,
      wantedCpus: sum(seen, ({ reservedCpus, usage }) => Math.min(usage.cpuDemandNow, reservedCpus)),
    },
  };
}

/** Of an owner that starts, all: it will want what it reserved. */
function idleBytes({ isBorrower, reservedBytes, usage }: JobLoad): number {
  return isBorrower ? 0 : Math.max(reservedBytes - (usage?.residentBytes ?? 0), 0);
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
