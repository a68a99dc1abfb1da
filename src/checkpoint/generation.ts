import { join } from 'node:path';

import { formatKey, type JobKey } from '../model/job.ts';
import { CheckpointRefused, isCheckpointRefused } from './errors.ts';
import { demandSame, type HashedFile, hashFile, type LongRun } from './hash.ts';
import type { StoreIo } from './io.ts';
import { jobPlaces, MANIFEST, MEMORY, parseNumber, SCRATCH } from './layout.ts';
import { decodeManifest, MANIFEST_MAX_BYTES } from './manifest.ts';
import type { Manifest } from './manifest-schema.ts';
import { readdirOrNone, unless } from './tree.ts';

interface Place {
  readonly key: JobKey;
  readonly number: number;
  readonly directory: string;
  readonly memoryPath: string;
  readonly scratchPath: string;
}

/** A published checkpoint whose manifest is sound and whose files have the right lengths. That they hold the right bytes, only verifyGeneration says. */
export interface Generation extends Place {
  readonly state: 'complete';
  readonly manifest: Manifest;
}

/** Something that stands where a generation should, and why it is none. */
export interface RefusedGeneration extends Place {
  readonly state: 'refused';
  readonly refusal: string;
}

export function placeOf(store: string, key: JobKey, number: number): Place {
  const directory = join(jobPlaces(store, key).generations, String(number));
  return {
    key,
    number,
    directory,
    memoryPath: join(directory, MEMORY),
    scratchPath: join(directory, SCRATCH),
  };
}

/**
 * All generations of a job: complete ones first, newest first. An epoch counts before a number: what a holder published after it had lost its claim is older than
 * whatever its successor saved. Throws StoreUnavailable, never calls a checkpoint damaged because it could not be read.
 */
export async function readGenerations(
  io: StoreIo,
  store: string,
  key: JobKey,
): Promise<(Generation | RefusedGeneration)[]> {
  const found: (Generation | RefusedGeneration)[] = [];
  for (const name of await readdirOrNone(io, jobPlaces(store, key).generations)) {
    const number = parseNumber(name);
    const generation =
      number === undefined ? undefined : await readGeneration(io, placeOf(store, key, number));
    if (generation) found.push(generation);
  }
  const epochOf = (one: Generation | RefusedGeneration) =>
    one.state === 'complete' ? one.manifest.epoch : -1;
  return found.sort((a, b) => epochOf(b) - epochOf(a) || b.number - a.number);
}

/** Hashes both images. Throws CheckpointRefused when one is not, byte for byte, what the manifest says. */
export async function verifyGeneration(
  io: StoreIo,
  { manifest, memoryPath, scratchPath }: Generation,
  { signal, progress }: LongRun = {},
): Promise<void> {
  let before = 0;
  const check = async (path: string, saved: HashedFile) => {
    const report = progress && ((done: number) => progress(before + done));
    const run = { ...(signal && { signal }), ...(report && { progress: report }) };
    demandSame(path, await hashFile(io, path, run), saved);
    before += saved.bytes;
  };
  await check(memoryPath, manifest.memory);
  const { scratch } = manifest;
  if (scratch) await check(scratchPath, { bytes: scratch.packedBytes, hash: scratch.hash });
}

/** Throws CheckpointRefused unless the images beside a manifest have the lengths that it says. */
export async function checkLengths(
  io: StoreIo,
  place: { memoryPath: string; scratchPath: string },
  manifest: Manifest,
): Promise<void> {
  const check = async (path: string, bytes: number) => {
    const found = (await io.stat(path).catch(unless('ENOENT')))?.bytes;
    if (found !== bytes)
      throw new CheckpointRefused(`${path}: expected ${bytes} bytes, ${found ?? 'there is none'}: torn`);
  };
  await check(place.memoryPath, manifest.memory.bytes);
  if (manifest.scratch) await check(place.scratchPath, manifest.scratch.packedBytes);
}

/** Undefined when it went away meanwhile. */
async function readGeneration(
  io: StoreIo,
  place: Place,
): Promise<Generation | RefusedGeneration | undefined> {
  const path = join(place.directory, MANIFEST);
  try {
    const content = await io.read(path, MANIFEST_MAX_BYTES).catch(unless('ENOENT', 'ENOTDIR'));
    if (!content) {
      if (!(await io.stat(place.directory).catch(unless('ENOENT')))) return undefined;
      throw new CheckpointRefused(`${path}: there is none`);
    }
    const manifest = decodeManifest(content, path);
    if (formatKey(manifest.key) !== formatKey(place.key))
      throw new CheckpointRefused(`${path}: it is of ${formatKey(manifest.key)}`);
    await checkLengths(io, place, manifest);
    return { ...place, state: 'complete', manifest };
  } catch (error) {
    if (!isCheckpointRefused(error)) throw error;
    return { ...place, state: 'refused', refusal: error.message };
  }
}
