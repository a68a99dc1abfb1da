import { randomBytes } from 'node:crypto';
import { lstat, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';

import { CaddisError } from '../../model/errors.ts';
import type { Log } from '../log.ts';

const NAME = 'caddis';

/**
 * Makes root's own directory below checkpoint.staging_dir. Everybody may write in /dev/shm and see what machines are called: in there another user's file or link under an image's name would take
 * the memory of a job, or keep it from being saved. What stands in its place and is not root's alone is moved aside.
 */
export async function openStaging(dir: string, log: Log): Promise<string> {
  const path = join(dir, NAME);
  if (await isOurs(path)) return path;
  const aside = `${path}-not-ours-${randomBytes(6).toString('hex')}`;
  await rename(path, aside);
  log.warn(`${path} was not root's alone (0700): moved to ${aside}`);
  if (await isOurs(path)) return path;
  throw new CaddisError(
    `${path}: expected a directory that is root's alone (0700), somebody keeps making another`,
  );
}

/** Makes it where there is none. */
async function isOurs(path: string): Promise<boolean> {
  await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const found = await lstat(path);
  return found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o077) === 0;
}
