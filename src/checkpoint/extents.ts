import { execa } from 'execa';
import * as z from 'zod';

import { CaddisError, messageOf } from '../model/errors.ts';

/** [offset, length] in bytes. */
export type Extent = [offset: number, length: number];

/** So many extents are 2 MiB of manifest. */
const MAX_EXTENTS = 65_536;

const mapSchema = z.array(z.object({ start: z.number(), length: z.number(), data: z.boolean() }));

/**
 * Where a sparse raw image holds data. Neighbours are joined, and the smallest holes between them too until at most MAX_EXTENTS are left.
 * The image must not be written to meanwhile. Throws CaddisError when qemu-img cannot read it.
 */
export async function mapExtents(path: string, signal?: AbortSignal): Promise<Extent[]> {
  try {
    const { stdout } = await execa('qemu-img', ['map', '--output=json', '-f', 'raw', '-U', path], {
      timeout: 120_000,
      maxBuffer: 512 * 1024 * 1024,
      stdin: 'ignore',
      ...(signal ? { cancelSignal: signal } : {}),
    });
    const found = mapSchema.parse(JSON.parse(stdout));
    return joinExtents(
      found.filter(({ data }) => data).map(({ start, length }): Extent => [start, length]),
      MAX_EXTENTS,
    );
  } catch (error) {
    signal?.throwIfAborted();
    throw new CaddisError(`cannot map the scratch disk ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Joins extents that touch, then across the smallest holes, until at most `max` are left. They must be in order. */
export function joinExtents(extents: readonly Extent[], max: number): Extent[] {
  const touching = joinAcross(extents, 0);
  if (touching.length <= max) return touching;
  const holes = touching.slice(1).map((extent, i) => extent[0] - endOf(touching[i] as Extent));
  const smallest = [...holes].sort((a, b) => a - b);
  return joinAcross(touching, smallest[touching.length - max - 1] as number);
}

export function packedBytes(extents: readonly Extent[]): number {
  return extents.reduce((sum, [, length]) => sum + length, 0);
}

function joinAcross(extents: readonly Extent[], holeBytes: number): Extent[] {
  const joined: Extent[] = [];
  for (const extent of extents) {
    const last = joined.at(-1);
    if (last && extent[0] - endOf(last) <= holeBytes) last[1] = endOf(extent) - last[0];
    else joined.push([...extent]);
  }
  return joined;
}

function endOf([offset, length]: Extent): number {
  return offset + length;
}
