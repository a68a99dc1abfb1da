import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import { CaddisError } from '../model/errors.ts';
import { formatKey, type JobKey } from '../model/job.ts';
import { placeOf } from './generation.ts';
import type { StoreIo } from './io.ts';
import { jobPlaces, jobsDirectory, removedName } from './layout.ts';
import { removeTree, unless } from './tree.ts';

/**
 * Takes a generation's number away, in one step that is durable before the first of its files goes: nobody ever finds half a generation under a number.
 * Throws CaddisError when there is none.
 */
export async function removeGeneration(
  io: StoreIo,
  store: string,
  key: JobKey,
  number: number,
): Promise<void> {
  const { generations } = jobPlaces(store, key);
  const removed = await removeAside(
    io,
    placeOf(store, key, number).directory,
    generations,
    removedName(number),
  );
  if (!removed)
    throw new CaddisError(
      `there is no checkpoint ${formatKey(key)}/${number}; "caddis checkpoints list" shows what there is`,
    );
}

/** Removes a job with all of its generations and claims in the same way, so that no older generation outlives a newer one. False when there was nothing. */
export function removeJob(io: StoreIo, store: string, key: JobKey): Promise<boolean> {
  const name = `.removed-${formatKey(key)}-${randomBytes(6).toString('hex')}`;
  return removeAside(io, jobPlaces(store, key).job, jobsDirectory(store), name);
}

/** Moves `path`, which lies in `parent`, to the hidden `name` there, and removes it with all that is in it. False when there is no such path. */
export async function removeAside(io: StoreIo, path: string, parent: string, name: string): Promise<boolean> {
  const aside = join(parent, name);
  const moved = await io.rename(path, aside).then(() => true, unless('ENOENT'));
  if (!moved) return false;
  await io.syncDirectory(parent);
  await removeTree(io, aside);
  return true;
}
