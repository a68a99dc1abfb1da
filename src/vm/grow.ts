import { MiB } from '../model/units.ts';

/** A guest plugs whole blocks of virtio-mem, as shape.ts asks for. */
export const BLOCK_BYTES = 2 * MiB;
/**
 * Linux adds memory in blocks of this size (x86, machines that boot with less than 64 GiB), and of a device whose region ends within one it leaves the last part unused
 * (drivers/virtio/virtio_mem.c, virtio_mem_refresh_config: last_usable_mb_id).
 */
const LINUX_BLOCK_BYTES = 128 * MiB;

interface Maxima {
  readonly baseMemoryBytes: number;
  readonly maxMemoryBytes: number;
}

/** The most that may be plugged into a machine of this shape. */
export function mostToPlug({ baseMemoryBytes, maxMemoryBytes }: Maxima): number {
  return Math.max(Math.floor((maxMemoryBytes - baseMemoryBytes) / BLOCK_BYTES) * BLOCK_BYTES, 0);
}

/** Size in bytes of the virtio-mem device from which a guest can take all of it; what is never asked for is address space only. 0: no device. */
export function hotplugRegion(maxima: Maxima): number {
  return Math.ceil(mostToPlug(maxima) / LINUX_BLOCK_BYTES) * LINUX_BLOCK_BYTES;
}

/** Page structures of plugged memory: 64 bytes for each page of 4 KiB, and a little for the allocator's own lists. */
const MEMORY_MAP_SHARE = 1 / 60;
/** Left over on purpose, so that MemAvailable at the job's first instruction is not below the request by what the step's start itself takes. */
const MARGIN_BYTES = 12 * MiB;

/**
 * Bytes of virtio-mem to have plugged so that the guest can offer `wantedBytes`, given what is plugged now and what the guest offers with it. Never less than
 * what is plugged: memory is not taken from a job that has it.
 */
export function memoryToPlug(
  wantedBytes: number,
  now: { pluggedBytes: number; availableBytes: number },
): number {
  const missing = wantedBytes + MARGIN_BYTES - now.availableBytes;
  if (missing <= 0) return now.pluggedBytes;
  return now.pluggedBytes + Math.ceil((missing * (1 + MEMORY_MAP_SHARE)) / BLOCK_BYTES) * BLOCK_BYTES;
}

/** The same for less: bytes that may stay plugged when the guest is to offer `wantedBytes` and no more. */
export function memoryToKeep(
  wantedBytes: number,
  now: { pluggedBytes: number; availableBytes: number },
): number {
  const spare = (now.availableBytes - MARGIN_BYTES - wantedBytes) * (1 + MEMORY_MAP_SHARE);
  return Math.max(now.pluggedBytes - Math.floor(Math.max(spare, 0) / BLOCK_BYTES) * BLOCK_BYTES, 0);
}

/** The most that a guest can offer when all of `mostPluggedBytes` is plugged: what memoryToPlug never asks more for. */
export function mostOffered(
  mostPluggedBytes: number,
  now: { pluggedBytes: number; availableBytes: number },
): number {
  const more = Math.max(0, Math.floor((mostPluggedBytes - now.pluggedBytes) / BLOCK_BYTES) * BLOCK_BYTES);
  return Math.floor(now.availableBytes + more / (1 + MEMORY_MAP_SHARE) - MARGIN_BYTES);
}
