/** What the balloon driver and the host say of a domain's memory. A value is undefined when the guest or the driver does not give it. */
export interface MemoryStats {
  /** What the balloon leaves the guest. */
  readonly actualKib: number | undefined;
  /** QEMU's resident memory on the host. */
  readonly rssKib: number | undefined;
  /** The guest's MemFree. */
  readonly unusedKib: number | undefined;
  /** The guest's MemTotal. */
  readonly availableKib: number | undefined;
  /** The guest's MemAvailable. */
  readonly usableKib: number | undefined;
  readonly diskCachesKib: number | undefined;
  readonly swapInKib: number | undefined;
  readonly swapOutKib: number | undefined;
  readonly majorFaults: number | undefined;
  readonly minorFaults: number | undefined;
  /** Seconds since the epoch when the guest last reported. */
  readonly lastUpdateSeconds: number | undefined;
}

/** By virDomainMemoryStatTags. */
export function memoryStatsFrom(
  pairs: readonly { readonly tag: number; readonly value: bigint }[],
): MemoryStats {
  const byTag = new Map(pairs.map(({ tag, value }) => [tag, Number(value)]));
  return {
    swapInKib: byTag.get(0),
    swapOutKib: byTag.get(1),
    majorFaults: byTag.get(2),
    minorFaults: byTag.get(3),
    unusedKib: byTag.get(4),
    availableKib: byTag.get(5),
    actualKib: byTag.get(6),
    rssKib: byTag.get(7),
    usableKib: byTag.get(8),
    lastUpdateSeconds: byTag.get(9),
    diskCachesKib: byTag.get(10),
  };
}

/** How many values we ask for: all tags that exist (libvirt 9 has 13). */
export const memoryStatsMax = 16;
