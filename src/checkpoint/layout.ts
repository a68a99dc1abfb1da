import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import { formatKey, type JobKey } from '../model/job.ts';

/** Where things are in the store. All directories are 0700 and all files 0600: a checkpoint holds a job's memory. See docs/checkpoints.md. */
export const MANIFEST = 'manifest.json';
export const MEMORY = 'memory';
export const SCRATCH = 'scratch';
/** In a generation from which a machine has gone on: it is no longer the last state of its job. */
export const RESUMED = 'resumed';
/** Who writes a draft: {@link DraftOwner}. It stays in the generation and means nothing there. */
export const OWNER = 'owner';

export interface JobPlaces {
  readonly job: string;
  readonly claims: string;
  readonly generations: string;
}

export function jobsDirectory(store: string): string {
  return join(store, 'jobs');
}

export function nodesDirectory(store: string): string {
  return join(store, 'nodes');
}

export function jobPlaces(store: string, key: JobKey): JobPlaces {
  const job = join(jobsDirectory(store), formatKey(key));
  return { job, claims: join(job, 'claims'), generations: join(job, 'generations') };
}

/** A generation's or an epoch's number as a file name: decimal, no leading zero, so that each number has one name. */
export function parseNumber(name: string): number | undefined {
  if (!/^[1-9]\d{0,14}$/.test(name)) return undefined;
  return Number(name);
}

/** `.7-3f9c..`: a generation that is being written. */
export function draftName(number: number): string {
  return `.${number}-${randomBytes(6).toString('hex')}`;
}

/** `.removed-7-3f9c..`: a generation that is being removed. It lost its number in one step, so that nobody takes what is left of it for one. */
export function removedName(number: number): string {
  return `.removed-${number}-${randomBytes(6).toString('hex')}`;
}

/** What a hidden name in `generations` is; undefined for anything that is not ours. */
export function parseHidden(name: string): { kind: 'draft' | 'removed'; number: number } | undefined {
  const match = /^\.(removed-)?([1-9]\d{0,14})-[0-9a-f]{12}$/.exec(name);
  if (!match) return undefined;
  return { kind: match[1] === undefined ? 'draft' : 'removed', number: Number(match[2]) };
}
