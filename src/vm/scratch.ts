import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';

import { CaddisError, messageOf, NodeUnfit } from '../model/errors.ts';

export interface ScratchDisk {
  readonly path: string;
  readonly bytes: number;
}

/**
 * Makes a sparse file of `bytes` with an empty ext4 in it, owned by the user that QEMU runs as. Takes about 30 ms whatever the size: inode tables are left to the
 * guest's kernel. Throws NodeUnfit when the directory is full or cannot be written.
 */
export async function createScratch(
  dir: string,
  machine: string,
  bytes: number,
  owner: { uid: number; gid: number },
): Promise<ScratchDisk> {
  const path = join(dir, `${machine}.img`);
  try {
    await mkdir(dir, { recursive: true, mode: 0o711 });
    const file = await open(path, 'wx', 0o600);
    try {
      await file.truncate(bytes);
    } finally {
      await file.close();
    }
    // The root of the file system belongs to root; -m 0: no blocks kept for root, the job may fill it.
    await execa(
      '/sbin/mkfs.ext4',
      [
        '-q',
        '-F',
        '-m',
        '0',
        '-O',
        '^has_journal',
        '-E',
        'lazy_itable_init=1,nodiscard,root_owner=0:0',
        path,
      ],
      { timeout: 30_000, stdin: 'ignore' },
    );
    await chown(path, owner);
  } catch (error) {
    // What cannot be made cannot be removed either: the first error is the one that says why.
    await rm(path, { force: true }).catch(() => undefined);
    if (error instanceof CaddisError) throw error;
    throw new NodeUnfit(`cannot make a scratch disk in ${dir}: ${messageOf(error)}`, {
      wholeNode: true,
      cause: error,
    });
  }
  return { path, bytes };
}

export async function removeScratch(path: string): Promise<void> {
  await rm(path, { force: true });
}

async function chown(path: string, owner: { uid: number; gid: number }): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.chown(owner.uid, owner.gid);
  } finally {
    await file.close();
  }
}
