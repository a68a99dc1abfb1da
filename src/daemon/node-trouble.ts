import { constants } from 'node:fs';
import { access, mkdir, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

import type { Config } from '../config/schema.ts';
import { CaddisError, messageOf } from '../model/errors.ts';
import type { BaseShape } from '../vm/shape.ts';

/** What is missing of the image that machines start from, if anything. */
export async function imageTrouble(
  { kernel, initrd, root }: BaseShape,
  image: string,
): Promise<string | undefined> {
  for (const file of [kernel, initrd, root])
    if (!(await readable(file)))
      return `image ${image} is incomplete: ${file} cannot be read; run "caddis image build"`;
  return undefined;
}

/** Writes where machines' starts do. Throws what they would: a full or read-only file system, a directory that is gone. */
export async function demandWritable({ scratch, network }: Config): Promise<void> {
  const dirs = [scratch.dir, ...(network.mode === 'bridge' ? [network.claims_dir] : [])];
  for (const dir of dirs) await tryWriting(dir);
}

async function tryWriting(dir: string): Promise<void> {
  const path = join(dir, `.caddis-probe-${hostname()}`);
  try {
    await mkdir(dir, { recursive: true, mode: 0o711 });
    await writeFile(path, 'probe\n');
  } catch (error) {
    throw new CaddisError(`cannot write in ${dir}: ${messageOf(error)}`);
  } finally {
    await rm(path, { force: true }).catch(() => undefined);
  }
}

async function readable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}
