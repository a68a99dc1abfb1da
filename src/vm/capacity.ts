import { readFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';

import { NodeUnfit } from '../model/errors.ts';
import { formatBytes, MiB } from '../model/units.ts';

/** What QEMU itself needs beside the guest's memory; under TCG the translation cache is most of it (facts: "Limits and pressure"). */
export const QEMU_OVERHEAD_BYTES = { tcg: 256 * MiB, kvm: 96 * MiB } as const;

/** The node has too little memory left for one more machine. */
class NotEnoughMemory extends NodeUnfit {
  override name = 'NotEnoughMemory';
}

export function isNotEnoughMemory(error: unknown): boolean {
  return error instanceof NotEnoughMemory;
}

export interface NodeCapacity {
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** The node's own maxima, or what caddis.toml says instead. */
export function nodeCapacity(limits: {
  cpusMax: number;
  memoryMaxBytes: number;
  reserveBytes: number;
}): NodeCapacity {
  return {
    cpus: limits.cpusMax > 0 ? limits.cpusMax : cpus().length,
    memoryBytes:
      limits.memoryMaxBytes > 0 ? limits.memoryMaxBytes : Math.max(totalmem() - limits.reserveBytes, 0),
  };
}

/**
 * Whether `neededBytes` more fit on this node now, judged by what the kernel can still give: a machine that is saving or parked holds memory that the scheduler thinks free.
 * `returnableBytes`: what others hold and give back when it is wanted. Throws NotEnoughMemory with the figures.
 */
export async function admitMemory(
  neededBytes: number,
  reserveBytes: number,
  returnableBytes: number,
): Promise<void> {
  const available = (await memAvailableBytes()) + returnableBytes;
  if (available - neededBytes >= reserveBytes) return;
  throw new NotEnoughMemory(
    `not enough memory on this node: ${formatBytes(neededBytes)} needed, ${formatBytes(available)} available, ` +
      `${formatBytes(reserveBytes)} kept for the host (vm.reserve_memory)`,
    { wholeNode: false },
  );
}

/** What the host's kernel could still give. */
export async function memAvailableBytes(): Promise<number> {
  const text = await readFile('/proc/meminfo', 'utf8');
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  if (!kib) throw new Error('/proc/meminfo has no MemAvailable');
  return Number(kib) * 1024;
}
