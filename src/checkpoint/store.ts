import { join } from 'node:path';

import { type JobKey, parseKey } from '../model/job.ts';
import { compatible, type RestoreTarget } from './compatible.ts';
import { Draft, type DraftOwner } from './draft.ts';
import { isStoreFull } from './errors.ts';
import { type ExpireOptions, expireJobs } from './expire.ts';
import { type Generation, type RefusedGeneration, readGenerations, verifyGeneration } from './generation.ts';
import type { LongRun } from './hash.ts';
import type { StoreIo } from './io.ts';
import { jobPlaces, jobsDirectory, nodesDirectory, parseHidden, parseNumber, RESUMED } from './layout.ts';
import { removeGeneration, removeJob } from './removal.ts';
import { demandRoom } from './room.ts';
import { type SweepOptions, sweepStore } from './sweep.ts';
import { demandDirectory, ensureDirectory, freshen, treeBytes, unless } from './tree.ts';
import { takeTurn } from './turn.ts';

export interface StoreOptions {
  /** checkpoint.dir: a directory that all nodes share. It must be there; the store never makes it, since a mount point without its mount is there too. */
  readonly dir: string;
  readonly io: StoreIo;
  /** For the whole store; 0 = none. */
  readonly quotaBytes?: number;
}

export interface Newest {
  readonly generation: Generation | undefined;
  /** What is newer than it, or all there is, and why it is not taken. */
  readonly refused: readonly { readonly number: number; readonly why: string }[];
}

export type ListedGeneration = (Generation | RefusedGeneration) & {
  readonly bytes: number;
  /** Since it was taken, by the clocks of the node that took it and of this one: for people. */
  readonly ageMs: number | undefined;
};

/**
 * The checkpoints of a site, on storage that all nodes share. It keeps nothing in memory but which drafts this process writes, so that any number of processes may use
 * one directory. A crash between any two operations leaves the last complete generation as it was (docs/checkpoints.md says why, `npm run fault -- checkpoint` tries).
 *
 * Everything may throw StoreUnavailable.
 */
export class CheckpointStore {
  readonly dir: string;
  readonly io: StoreIo;
  readonly #quotaBytes: number;
  readonly #drafts = new Set<string>();

  constructor({ dir, io, quotaBytes = 0 }: StoreOptions) {
    this.dir = dir;
    this.io = io;
    this.#quotaBytes = quotaBytes;
  }

  /** Makes what a new store has. To be called when caddisd starts; everything else throws StoreUnavailable where this was never done. */
  async prepare(): Promise<void> {
    await demandDirectory(this.io, this.dir);
    await ensureDirectory(this.io, jobsDirectory(this.dir));
    await ensureDirectory(this.io, nodesDirectory(this.dir));
  }

  /**
   * Begins a checkpoint. `expectedBytes` is what its files may take: StoreFull when it exceeds the quota or the free space. Two nodes that begin at the same time may
   * together exceed it; the file system's own bound then meets the later one.
   */
  async begin(
    key: JobKey,
    { owner, expectedBytes }: { readonly owner: DraftOwner; readonly expectedBytes: number },
  ): Promise<Draft> {
    await this.demandRoom(expectedBytes);
    const { job, generations } = jobPlaces(this.dir, key);
    await ensureDirectory(this.io, job);
    await ensureDirectory(this.io, generations);
    const numbers = (await this.io.readdir(generations)).map(
      (name) => parseNumber(name) ?? parseHidden(name)?.number ?? 0,
    );
    const number = Math.max(0, ...numbers) + 1;
    const draft = await Draft.make(
      this.io,
      { store: this.dir, key, number, ended: ({ directory }) => this.#drafts.delete(directory) },
      owner,
    );
    this.#drafts.add(draft.directory);
    return draft;
  }

  /** Has what is read of a job next come from the file server. */
  async #freshen(key: JobKey): Promise<void> {
    const { job, generations } = jobPlaces(this.dir, key);
    if (await freshen(this.io, generations)) return;
    // An NFS client remembers what was not there, too.
    await freshen(this.io, jobsDirectory(this.dir));
    await freshen(this.io, job);
  }

  /** Throws what `begin` throws where there is no store or no room: StoreUnavailable, StoreFull. */
  async demandRoom(expectedBytes: number): Promise<void> {
    await this.#demandStore();
    await demandRoom(this.io, this.dir, { wantedBytes: expectedBytes, quotaBytes: this.#quotaBytes });
  }

  /** Complete ones first, newest first. */
  async generations(key: JobKey): Promise<(Generation | RefusedGeneration)[]> {
    await this.#demandStore();
    return readGenerations(this.io, this.dir, key);
  }

  /**
   * The newest generation that may be restored for this job on this node, with lengths checked and hashes not: verify() does that, beside the paused restore.
   * `except`: numbers that verify() has refused by now. What another node has published is among them at once, whatever this one has cached of the directory.
   */
  async newest(target: RestoreTarget, except: ReadonlySet<number> = new Set()): Promise<Newest> {
    const refused: { number: number; why: string }[] = [];
    await this.#freshen(target.key).catch((error: unknown) => {
      // Reading needs no room.
      if (!isStoreFull(error)) throw error;
    });
    const all = await this.generations(target.key);
    for (const one of all)
      if (one.state === 'refused') refused.push({ number: one.number, why: one.refusal });
    for (const one of all) {
      if (one.state === 'refused' || except.has(one.number)) continue;
      const why = compatible(one.manifest, target);
      if (why === undefined) return { generation: one, refused };
      refused.push({ number: one.number, why });
    }
    return { generation: undefined, refused };
  }

  /** To be called before a machine of this generation runs: from then on the job's files may be newer than the generation. */
  async markResumed({ directory }: Generation): Promise<void> {
    await this.io.create(join(directory, RESUMED), new Uint8Array()).catch(unless('EEXIST'));
    await this.io.syncDirectory(directory);
  }

  /** The machine made of it was gone before it ran. */
  async unmarkResumed({ directory }: Generation): Promise<void> {
    await this.io.unlink(join(directory, RESUMED)).catch(unless('ENOENT'));
    await this.io.syncDirectory(directory);
  }

  async wasResumed({ directory }: Generation): Promise<boolean> {
    return (await this.io.stat(join(directory, RESUMED)).catch(unless('ENOENT'))) !== undefined;
  }

  /** Hashes both images. Throws CheckpointRefused when one is not, byte for byte, what was saved. */
  verify(generation: Generation, run: LongRun = {}): Promise<void> {
    return verifyGeneration(this.io, generation, run);
  }

  /**
   * Removes all but the newest `keep` complete generations, and what is older than those. One that only looks complete may be among them: so two stay until the
   * resumed job has proved alive.
   */
  async prune(key: JobKey, keep: number): Promise<number[]> {
    const all = await this.generations(key);
    const complete = all.filter(({ state }) => state === 'complete');
    const kept = complete.slice(0, keep);
    if (kept.length < keep) return [];
    const oldest = Math.min(...kept.map(({ number }) => number));
    const surplus = [
      ...complete.slice(keep),
      ...all.filter(({ state, number }) => state === 'refused' && number < oldest),
    ].map(({ number }) => number);
    for (const number of surplus.sort((a, b) => a - b)) await this.removeGeneration(key, number);
    return surplus;
  }

  /** Takes its number away in one step, then removes it. Throws CaddisError when there is none. */
  async removeGeneration(key: JobKey, number: number): Promise<void> {
    await this.#demandStore();
    await removeGeneration(this.io, this.dir, key, number);
  }

  /** Removes all that the store has of a job, its claims too, in one step. A draft that is being written fails to publish. False when there was nothing. */
  async removeJob(key: JobKey): Promise<boolean> {
    await this.#demandStore();
    return removeJob(this.io, this.dir, key);
  }

  /** Whether it is the caller's turn to sweep and expire: nobody has for `everyMs`. */
  async takeTurn(everyMs: number): Promise<boolean> {
    await this.#demandStore();
    return takeTurn(this.io, this.dir, everyMs);
  }

  /** Removes what crashes left behind; drafts of this process are never left over. Returns the paths. */
  async sweep({ isWanted, olderThanMs }: SweepOptions): Promise<string[]> {
    await this.#demandStore();
    return sweepStore(this.io, this.dir, {
      olderThanMs,
      isWanted: (draft) => this.#drafts.has(draft.directory) || isWanted(draft),
    });
  }

  /** Removes jobs that are not wanted and to which nothing was published or begun for `olderThanMs`, by the file server's clock. Returns them. */
  async expire(options: ExpireOptions): Promise<JobKey[]> {
    const jobs = await this.jobs();
    return expireJobs(this.io, this.dir, jobs, options);
  }

  /** Jobs of which the store has anything. */
  async jobs(): Promise<JobKey[]> {
    await this.#demandStore();
    const names = (await this.io.readdir(jobsDirectory(this.dir))).sort();
    return names.map(parseKey).filter((key) => key !== undefined);
  }

  /** All generations of all jobs, or of one, in the order of jobs and numbers. */
  async list(only?: JobKey): Promise<ListedGeneration[]> {
    const listed: ListedGeneration[] = [];
    for (const key of only ? [only] : await this.jobs())
      for (const one of (await this.generations(key)).sort((a, b) => a.number - b.number))
        listed.push({
          ...one,
          bytes: await treeBytes(this.io, one.directory),
          ageMs: one.state === 'complete' ? Date.now() - Date.parse(one.manifest.takenAt) : undefined,
        });
    return listed;
  }

  #demandStore(): Promise<void> {
    return demandDirectory(this.io, jobsDirectory(this.dir));
  }
}
