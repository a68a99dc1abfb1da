import { join } from 'node:path';

import { type JobKey, parseKey } from '../model/job.ts';
import { type DraftOwner, readOwner } from './draft.ts';
import { lastWritten, storeNow } from './expire.ts';
import type { StoreIo } from './io.ts';
import { jobPlaces, jobsDirectory, nodesDirectory, parseHidden, removedName } from './layout.ts';
import { removeAside } from './removal.ts';
import { readdirOrNone, removeTree, unless } from './tree.ts';

/** A draft that may be left over. */
export interface Leftover {
  readonly key: JobKey;
  readonly directory: string;
  /** Undefined: cut off before it was written down. */
  readonly owner: DraftOwner | undefined;
  /** Since anything in it was last written, by the file server's clock. */
  readonly idleMs: number;
}

export interface SweepOptions {
  /** Whether somebody still writes this draft: an intent of this node, or another node whose heartbeat moves. */
  readonly isWanted: (draft: Leftover) => boolean;
  /** Nothing that was written to within this time is touched, whoever it belongs to. */
  readonly olderThanMs: number;
}

/** Removes what crashes left behind: drafts that nobody writes, halves of what was being removed, temporary files. Returns the paths. Generations are never touched. */
export async function sweepStore(io: StoreIo, store: string, options: SweepOptions): Promise<string[]> {
  const now = await storeNow(io, store);
  const removed: string[] = [];
  const removeIdle = async (directory: string, pattern: RegExp) => {
    for (const name of await readdirOrNone(io, directory)) {
      if (!pattern.test(name)) continue;
      const path = join(directory, name);
      const found = await io.stat(path).catch(unless('ENOENT'));
      if (!found || found.directory || now - found.modifiedMs < options.olderThanMs) continue;
      await io.unlink(path).catch(unless('ENOENT'));
      removed.push(path);
    }
  };
  await removeIdle(store, /^\.probe-/);
  await removeIdle(nodesDirectory(store), /^\./);
  for (const name of await readdirOrNone(io, jobsDirectory(store))) {
    const path = join(jobsDirectory(store), name);
    if (name.startsWith('.removed-')) {
      await removeTree(io, path);
      removed.push(path);
    }
    const key = parseKey(name);
    if (!key) continue;
    await removeIdle(jobPlaces(store, key).claims, /^\./);
    removed.push(...(await sweepJob(io, store, key, now, options)));
  }
  return removed;
}

async function sweepJob(
  io: StoreIo,
  store: string,
  key: JobKey,
  nowMs: number,
  { isWanted, olderThanMs }: SweepOptions,
): Promise<string[]> {
  const { generations } = jobPlaces(store, key);
  const removed: string[] = [];
  for (const name of await readdirOrNone(io, generations)) {
    const hidden = parseHidden(name);
    if (!hidden) continue;
    const path = join(generations, name);
    if (hidden.kind === 'removed') await removeTree(io, path);
    else {
      const idleMs = nowMs - (await lastWritten(io, await withContents(io, path)));
      if (
        idleMs < olderThanMs ||
        isWanted({ key, directory: path, owner: await readOwner(io, path), idleMs })
      )
        continue;
      // Under another name first: should its writer be alive after all, it fails to publish instead of publishing a half.
      await removeAside(io, path, generations, removedName(hidden.number));
    }
    removed.push(path);
  }
  return removed;
}

async function withContents(io: StoreIo, directory: string): Promise<string[]> {
  return [directory, ...(await readdirOrNone(io, directory)).map((name) => join(directory, name))];
}
