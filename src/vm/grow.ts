import { MiB } from '../model/units.ts';

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
  const block = 2 * MiB;
  return now.pluggedBytes + Math.ceil((missing * (1 + MEMORY_MAP_SHARE)) / block) * block;
}

/** The same for less: bytes that may stay plugged when the guest is to offer `wantedBytes` and no more. */
export function memoryToKeep(
  wantedBytes: number,
  now: { pluggedBytes: number; availableBytes: number },
): number {
  const block = 2 * MiB;
  const spare = (now.availableBytes - MARGIN_BYTES - wantedBytes) * (1 + MEMORY_MAP_SHARE);
  return Math.max(now.pluggedBytes - Math.floor(Math.max(spare, 0) / block) * block, 0);
}

/** The most that a guest can offer when all of `mostPluggedBytes` is plugged: what memoryToPlug never asks more for. */
export function mostOffered(
  mostPluggedBytes: number,
  now: { pluggedBytes: number; availableBytes: number },
): number {
  const block = 2 * MiB;
  const more = Math.max(0, Math.floor((mostPluggedBytes - now.pluggedBytes) / block) * block);
  return Math.floor(now.availableBytes + more / (1 + MEMORY_MAP_SHARE) - MARGIN_BYTES);
}
