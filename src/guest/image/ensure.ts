import { createHash } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { z } from 'zod';

import { buildImage, type ImageRecipe } from './build.ts';
import { locateGuestPrograms } from './guest-programs.ts';
import type { Progress } from './progress.ts';
import { ImageNotFound, type ImageStore, type StoredImage } from './store.ts';

/**
 * The image that `recipe` gives, built only if something that it depends on has changed since the last time (size or time of a host file,
 * apt's package lists). For an image of the host itself nothing is remembered: it is built each time.
 */
export async function ensureImage(
  store: ImageStore,
  recipe: ImageRecipe,
  options: { readonly name: string; readonly progress?: Progress; readonly signal?: AbortSignal },
): Promise<StoredImage & { readonly reused: boolean }> {
  const guestPrograms = recipe.guestPrograms ?? (await locateGuestPrograms());
  const full = { ...recipe, guestPrograms };
  const memoPath = join(
    store.cacheDirectory,
    'built',
    `${hashText(JSON.stringify([MEMO_FORMAT, full]))}.json`,
  );
  const known = await recall(store, memoPath);
  if (known) {
    if (!known.names.includes(options.name)) await store.setName(options.name, known.id);
    return { ...(await store.find(known.id)), reused: true };
  }
  const { inputs, ...image } = await buildImage(store, full, options);
  if (recipe.root.kind !== 'host') await remember(memoPath, image.id, [...inputs, ...kernelInputs(recipe)]);
  return { ...image, reused: false };
}

/** Counts up when the builder itself would make something else of the same inputs. */
const MEMO_FORMAT = 3;

const APT_LISTS = '/var/lib/apt/lists';

const memoSchema = z.object({ id: z.string(), stamps: z.array(z.tuple([z.string(), z.string()])) });

async function recall(store: ImageStore, memoPath: string): Promise<StoredImage | undefined> {
  const text = await readFile(memoPath, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const memo = memoSchema.safeParse(JSON.parse(text));
  if (!memo.success || memo.data.stamps.some(([path, expected]) => stamp(path) !== expected))
    return undefined;
  try {
    return await store.find(memo.data.id);
  } catch (error) {
    if (error instanceof ImageNotFound) return undefined;
    throw error;
  }
}

async function remember(memoPath: string, id: string, inputs: readonly string[]): Promise<void> {
  await mkdir(join(memoPath, '..'), { recursive: true });
  const stamps = [...new Set(inputs)].map((path) => [path, stamp(path)]);
  await writeFile(`${memoPath}.${process.pid}`, JSON.stringify({ id, stamps }));
  await rename(`${memoPath}.${process.pid}`, memoPath);
}

/** A package name means whatever apt's lists say today; a file means itself. */
function kernelInputs({ kernel }: ImageRecipe): string[] {
  return [kernel?.endsWith('.deb') ? kernel : APT_LISTS];
}

/** Size and time of a file; a directory's time would move with every file in /etc that has nothing to do with the image. */
function stamp(path: string): string {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return 'absent';
  if (found.isDirectory() && path !== APT_LISTS) return `${found.mode}`;
  return `${found.mode} ${found.size} ${found.mtimeMs} ${found.ino}`;
}

function hashText(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
