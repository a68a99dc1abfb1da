import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';

import { errnoOf, StoreUnavailable } from './errors.ts';
import type { StoreIo } from './io.ts';

/**
 * Makes a directory below one that is there, and makes its name durable: also when it was there before, since whoever made it may have died before the sync, and
 * what is synced below a name that is lost is lost with it.
 */
export async function ensureDirectory(io: StoreIo, path: string): Promise<void> {
  await io.mkdir(path).catch(unless('EEXIST'));
  await io.syncDirectory(dirname(path));
}

/** Removes a directory with all that is in it. What another removes at the same time is no error; a directory that gets new names meanwhile stays. */
export async function removeTree(io: StoreIo, path: string): Promise<void> {
  for (const name of await readdirOrNone(io, path)) {
    const child = join(path, name);
    const found = await io.stat(child).catch(unless('ENOENT'));
    if (!found) continue;
    if (found.directory) await removeTree(io, child);
    else await io.unlink(child).catch(unless('ENOENT'));
  }
  // ENOTEMPTY: NFS keeps a file that is open elsewhere on this node under another name. A later sweep finds it gone.
  await io.rmdir(path).catch(unless('ENOENT', 'ENOTEMPTY', 'EEXIST'));
}

/**
 * Has the next listing of a directory come from the file server: writes and removes a file there. An NFS client may answer from a listing that is a minute old, but not for a directory that it has
 * changed itself. False when there is no such directory.
 */
export async function freshen(io: StoreIo, directory: string): Promise<boolean> {
  const probe = join(directory, `.probe-${randomBytes(6).toString('hex')}`);
  const made = await io.create(probe, new Uint8Array()).then(() => true, unless('ENOENT'));
  if (!made) return false;
  await io.unlink(probe).catch(unless('ENOENT'));
  return true;
}

/** Bytes of all files below a directory, by their lengths. */
export async function treeBytes(io: StoreIo, path: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdirOrNone(io, path)) {
    const found = await io.stat(join(path, name)).catch(unless('ENOENT'));
    if (found) bytes += found.directory ? await treeBytes(io, join(path, name)) : found.bytes;
  }
  return bytes;
}

export async function readdirOrNone(io: StoreIo, path: string): Promise<string[]> {
  return (await io.readdir(path).catch(unless('ENOENT'))) ?? [];
}

/**
 * Throws StoreUnavailable unless a directory is there that every prepared store has (`jobs`, `nodes`): a store that is not mounted must never be taken for one in
 * which there is nothing.
 */
export async function demandDirectory(io: StoreIo, path: string): Promise<void> {
  if ((await io.stat(path).catch(unless('ENOENT')))?.directory) return;
  throw new StoreUnavailable(path, 'expected a directory, there is none');
}

/** For catch(): lets system calls fail with these codes. */
export function unless(...codes: readonly string[]): (error: unknown) => undefined {
  return (error) => {
    if (!codes.includes(errnoOf(error) ?? '')) throw error;
    return undefined;
  };
}
