import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import type { JobKey } from '../model/job.ts';
import type { StoreIo } from './io.ts';
import { jobPlaces } from './layout.ts';
import { removeJob } from './removal.ts';
import { unless } from './tree.ts';

export interface ExpireOptions {
  /** Whether the scheduler still has this job. */
  readonly isWanted: (key: JobKey) => boolean | Promise<boolean>;
  /** checkpoint.retention, in milliseconds. */
  readonly olderThanMs: number;
}

/** Removes those of `jobs` that nobody wants and of which nothing was begun, published, removed or claimed for a time. Returns them. */
export async function expireJobs(
  io: StoreIo,
  store: string,
  jobs: readonly JobKey[],
  { isWanted, olderThanMs }: ExpireOptions,
): Promise<JobKey[]> {
  const removed: JobKey[] = [];
  const now = await storeNow(io, store);
  for (const key of jobs) {
    const { job, generations, claims } = jobPlaces(store, key);
    if (now - (await lastWritten(io, [job, generations, claims])) < olderThanMs || (await isWanted(key)))
      continue;
    if (await removeJob(io, store, key)) removed.push(key);
  }
  return removed;
}

/** What the file server takes for the time: the only clock by which a file's age can be told. Milliseconds. */
export async function storeNow(io: StoreIo, store: string): Promise<number> {
  const probe = join(store, `.probe-${randomBytes(6).toString('hex')}`);
  await io.create(probe, new Uint8Array());
  try {
    return (await io.stat(probe)).modifiedMs;
  } finally {
    await io.unlink(probe);
  }
}

/** When any of these was last written, milliseconds of the file server's clock; 0 when none is there. */
export async function lastWritten(io: StoreIo, paths: readonly string[]): Promise<number> {
  const times = await Promise.all(
    paths.map((path) => io.stat(path).then(({ modifiedMs }) => modifiedMs, unless('ENOENT'))),
  );
  return Math.max(0, ...times.filter((time) => time !== undefined));
}
