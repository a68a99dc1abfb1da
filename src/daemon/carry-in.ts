import { constants, type Stats } from 'node:fs';
import { open, readlink, realpath } from 'node:fs/promises';
import { sep } from 'node:path';

import type { CarriedFile } from '../guest/protocol/start-document.ts';
import { CaddisError, messageOf } from '../model/errors.ts';
import type { Identity } from '../model/identity.ts';
import type { StepPlan } from '../model/job.ts';
import { MiB } from '../model/units.ts';

/** Slurm's own bound is 4 MiB (MAX_BATCH_SCRIPT_SIZE); Grid Engine has none worth naming. */
export const SCRIPT_MAX_BYTES = 4 * MiB;

/**
 * Reads the files that a plan wants carried. The plan is made of the caller's own words and caddisd reads as root: only regular files below the scheduler's spool are taken that
 * the job's user may read, by their real path. Throws CaddisError naming the file. A directory is a file without content whose mode says
 * so; the guest makes it with the user's own rights, whatever path it has.
 */
export async function readCarried(
  plan: StepPlan,
  spoolDirs: readonly string[],
  owner: Identity,
): Promise<CarriedFile[]> {
  const files = await Promise.all(plan.carry.map((file) => readOne(file, spoolDirs, owner)));
  const directories = (plan.directories ?? []).map((path) => ({
    path,
    mode: constants.S_IFDIR | 0o755,
    uid: owner.uid,
    gid: owner.gid,
    content: Buffer.alloc(0),
  }));
  return [...files, ...directories];
}

async function readOne(
  file: StepPlan['carry'][number],
  spoolDirs: readonly string[],
  owner: Identity,
): Promise<CarriedFile> {
  try {
    const real = await realpath(file.path);
    const roots = await Promise.all(spoolDirs.map((dir) => realpath(dir).catch(() => dir)));
    // Not blocking: a user's own directory in the spool may have a fifo in it.
    const handle = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      // What was opened: a directory on the way may be another by now.
      const opened = await readlink(`/proc/self/fd/${handle.fd}`);
      if (!roots.some((root) => opened.startsWith(root + sep)))
        throw new CaddisError(`it is not below ${spoolDirs.join(' or ')}`);
      const stat = await handle.stat();
      if (!stat.isFile()) throw new CaddisError('it is no regular file');
      if (!mayRead(owner, stat)) throw new CaddisError(`${owner.name} may not read it`);
      if (stat.size > SCRIPT_MAX_BYTES)
        throw new CaddisError(`it has ${stat.size} bytes, more than ${SCRIPT_MAX_BYTES}`);
      const content = await handle.readFile();
      return { path: file.path, mode: file.mode, uid: owner.uid, gid: owner.gid, content };
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new CaddisError(`cannot carry ${file.path} into the job's machine: ${messageOf(error)}`);
  }
}

function mayRead({ uid, groups }: Identity, file: Pick<Stats, 'uid' | 'gid' | 'mode'>): boolean {
  if (uid === 0 || file.uid === uid || (file.mode & constants.S_IROTH) !== 0) return true;
  return groups.includes(file.gid) && (file.mode & constants.S_IRGRP) !== 0;
}
