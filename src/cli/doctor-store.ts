import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';

import { storeNow } from '../checkpoint/expire.ts';
import { jobsDirectory } from '../checkpoint/layout.ts';
import { nodeIo } from '../checkpoint/node-io.ts';
import { demandDirectory, treeBytes } from '../checkpoint/tree.ts';
import type { Config } from '../config/schema.ts';
import { formatBytes, MiB } from '../model/units.ts';
import { fail, ok, warn } from './finding.ts';

/** A store that hangs is told of, and not waited for. */
const DEADLINE_MS = 10_000;
/** Beyond that the ages that people are shown are wrong; nothing else depends on clocks (docs/checkpoints.md). */
const CLOCK_MS = 5_000;
/** The smallest checkpoint that is worth the name: the memory of an idle guest. */
const SMALLEST_BYTES = 100 * MiB;

/** Does what caddisd does in the store: makes, syncs, links, renames and removes a file in its directory. */
export async function storeWorks({ checkpoint: { dir } }: Config) {
  if (dir === undefined)
    return warn('checkpoint.dir is not set: jobs that are requeued start afresh, and nothing is saved');
  const io = nodeIo({ deadlineMs: DEADLINE_MS, syncDeadlineMs: DEADLINE_MS });
  await demandDirectory(io, dir);
  const { dev, uid, mode } = await stat(dir);
  const parent = await stat(join(dir, '..'));
  const names = ['a', 'b', 'c'].map((end) => join(dir, `.probe-${randomBytes(6).toString('hex')}${end}`));
  const [file, second, third] = names as [string, string, string];
  try {
    await io.create(file, Buffer.from('probe\n'));
    await io.syncFile(file);
    await io.link(file, second);
    await io.rename(second, third);
    await io.syncDirectory(dir);
    const read = Buffer.from(await io.read(third, 64)).toString();
    if (read !== 'probe\n') return fail(`${dir}: what was written is not what is read`);
    const made = await stat(file);
    if (made.uid !== uid)
      return fail(
        `${dir} belongs to uid ${uid}, and what root writes from here to uid ${made.uid}: make it the directory's owner (chown, or anonuid=${uid} of the export), so that all nodes may read it`,
      );
    if ((mode & 0o077) !== 0)
      return warn(`${dir} is open to others (mode ${(mode & 0o777).toString(8)}): make it 0700`);
    if (dev !== parent.dev)
      return warn(
        `${dir} is a mount point itself: use a directory below it, so that a mount that is missing is seen`,
      );
  } finally {
    for (const name of names) await io.unlink(name).catch(() => undefined);
  }
  return ok(
    uid === 0
      ? `${dir}: readable and writable, root is not squashed`
      : `${dir}: readable and writable; root is squashed to uid ${uid}, so images are staged in checkpoint.staging_dir`,
  );
}

export async function storeHasRoom({ checkpoint: { dir, quota } }: Config) {
  if (dir === undefined) return ok('not needed');
  const io = nodeIo({ deadlineMs: DEADLINE_MS });
  const { freeBytes } = await io.space(dir);
  const used = quota === 0 ? 0 : await treeBytes(io, jobsDirectory(dir));
  const left = quota === 0 ? freeBytes : Math.min(freeBytes, Math.max(0, quota - used));
  const text = `${formatBytes(left)} left in ${dir}${quota === 0 ? '' : ` (checkpoint.quota ${formatBytes(quota)})`}`;
  if (left < SMALLEST_BYTES) return fail(`${text}: nothing can be saved; remove checkpoints or make room`);
  const memory = totalmem();
  return left < memory ? warn(`${text}, less than this node's memory (${formatBytes(memory)})`) : ok(text);
}

export async function storeClock({ checkpoint: { dir } }: Config) {
  if (dir === undefined) return ok('not needed');
  const before = Date.now();
  const there = await storeNow(nodeIo({ deadlineMs: DEADLINE_MS }), dir);
  const after = Date.now();
  const offMs = there < before ? there - before : Math.max(0, there - after);
  if (Math.abs(offMs) < 1_000) return ok("the file server's clock agrees with this node's");
  const text = `the file server's clock is ${(Math.abs(offMs) / 1000).toFixed(1)} s ${offMs < 0 ? 'behind' : 'ahead'}`;
  return Math.abs(offMs) > CLOCK_MS
    ? warn(`${text}: ages of checkpoints will look wrong (nothing else depends on it); use NTP`)
    : ok(text);
}

/** Where images wait for their copy into the store: of running jobs always, of others where root is squashed. */
export async function stagingHasRoom({ checkpoint: { dir, staging_dir: staging } }: Config) {
  if (dir === undefined) return ok('not needed');
  await access(staging, constants.W_OK);
  const { bavail, bsize } = await statfs(staging);
  const free = bavail * bsize;
  const text = `${formatBytes(free)} free in ${staging}`;
  return free < SMALLEST_BYTES ? fail(`${text}: no image fits; set checkpoint.staging_dir`) : ok(text);
}
