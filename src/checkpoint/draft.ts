import { join } from 'node:path';

import * as z from 'zod';

import { formatKey, type JobKey } from '../model/job.ts';
import { CheckpointRefused, ClaimLost, errnoOf } from './errors.ts';
import { checkLengths, type Generation, placeOf } from './generation.ts';
import type { StoreIo } from './io.ts';
import { draftName, jobPlaces, MANIFEST, MEMORY, OWNER, SCRATCH } from './layout.ts';
import { encodeManifest, MANIFEST_MAX_BYTES } from './manifest.ts';
import type { Manifest } from './manifest-schema.ts';
import { removeTree, unless } from './tree.ts';

const ownerSchema = z.strictObject({ host: z.string(), bootId: z.string(), machine: z.string() });

/** Who writes a draft: it tells a sweep whose it is. */
export type DraftOwner = z.infer<typeof ownerSchema>;

interface PublishOptions {
  /** Asked last, just before the checkpoint becomes one: throw ClaimLost here when the claim is somebody else's by now. */
  readonly confirm?: () => Promise<void>;
}

/** A checkpoint that is being written. Nobody takes it for one before publish() made it so. */
export class Draft {
  readonly key: JobKey;
  readonly number: number;
  readonly directory: string;
  /** For the memory image; the writer makes the file. */
  readonly memoryPath: string;
  /** For the packed scratch disk; the writer makes the file, if the machine has one. */
  readonly scratchPath: string;
  readonly #io: StoreIo;
  readonly #store: string;
  readonly #ended: () => void;

  private constructor(io: StoreIo, store: string, key: JobKey, number: number, ended: () => void) {
    this.#io = io;
    this.#store = store;
    this.#ended = ended;
    this.key = key;
    this.number = number;
    this.directory = join(jobPlaces(store, key).generations, draftName(number));
    this.memoryPath = join(this.directory, MEMORY);
    this.scratchPath = join(this.directory, SCRATCH);
  }

  /** Makes the directory, whose parents must be there. */
  static async make(
    io: StoreIo,
    at: { store: string; key: JobKey; number: number; ended: (draft: Draft) => void },
    owner: DraftOwner,
  ): Promise<Draft> {
    const draft: Draft = new Draft(io, at.store, at.key, at.number, () => at.ended(draft));
    await io.mkdir(draft.directory);
    await io.create(join(draft.directory, OWNER), Buffer.from(`${JSON.stringify(owner)}\n`));
    return draft;
  }

  /**
   * Makes a generation of it: images, manifest and names reach stable storage, in this order, before the directory gets its number, in one step. When it throws, the
   * generation is there whole or not at all, and publish() may be called again.
   *
   * Throws CheckpointRefused when the files are not those of the manifest, ClaimLost when another writer has published
   * under this number or the draft was taken away.
   */
  async publish(manifest: Manifest, { confirm }: PublishOptions = {}): Promise<Generation> {
    const { generations } = jobPlaces(this.#store, this.key);
    const place = placeOf(this.#store, this.key, this.number);
    const bytes = encodeManifest(manifest);
    if (formatKey(manifest.key) !== formatKey(this.key))
      throw new CheckpointRefused(
        `expected a manifest of ${formatKey(this.key)}, got ${formatKey(manifest.key)}`,
      );
    const isPublished = async () => {
      const path = join(place.directory, MANIFEST);
      const there = await this.#io.read(path, MANIFEST_MAX_BYTES).catch(unless('ENOENT'));
      return there !== undefined && bytes.equals(there);
    };
    if (!(await isPublished())) {
      await this.#writeAll(manifest, bytes);
      await confirm?.();
      try {
        await this.#io.rename(this.directory, place.directory);
      } catch (error) {
        // NFS may answer a repeated call with the outcome of a second try: what stands there decides.
        if (!TAKEN.has(errnoOf(error) ?? '')) throw error;
        if (!(await isPublished()))
          throw new ClaimLost(
            errnoOf(error) === 'ENOENT'
              ? `${this.directory}: it was removed while it was written, by a sweep or with its job`
              : `${place.directory}: another writer has published it; this copy of the job was overtaken`,
            { cause: error },
          );
      }
    }
    await this.#io.syncDirectory(generations);
    this.#ended();
    return { ...place, state: 'complete', manifest };
  }

  /** Removes it. One that was published by then stays. */
  async abandon(): Promise<void> {
    await removeTree(this.#io, this.directory);
    this.#ended();
  }

  async #writeAll(manifest: Manifest, bytes: Buffer): Promise<void> {
    await checkLengths(this.#io, this, manifest);
    await this.#io.syncFile(this.memoryPath);
    if (manifest.scratch) await this.#io.syncFile(this.scratchPath);
    const path = join(this.directory, MANIFEST);
    await this.#io.unlink(path).catch(unless('ENOENT'));
    await this.#io.create(path, bytes);
    await this.#io.syncFile(path);
    await this.#io.syncDirectory(this.directory);
  }
}

const TAKEN = new Set(['EEXIST', 'ENOTEMPTY', 'ENOENT']);

/** Undefined for a draft that was cut off before it had one, or whose owner file is damaged. */
export async function readOwner(io: StoreIo, directory: string): Promise<DraftOwner | undefined> {
  const content = await io.read(join(directory, OWNER), 4096).catch(unless('ENOENT', 'ENOTDIR'));
  if (!content) return undefined;
  try {
    return ownerSchema.parse(JSON.parse(Buffer.from(content).toString('utf8')));
  } catch {
    return undefined;
  }
}
