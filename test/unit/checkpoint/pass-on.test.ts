import { randomBytes } from 'node:crypto';
import { access, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { hashFile } from '../../../src/checkpoint/hash.ts';
import { nodeIo } from '../../../src/checkpoint/node-io.ts';
import { type ImagePipe, makePipe, passOn } from '../../../src/checkpoint/pass-on.ts';

const IMAGE_BYTES = 13 * 1024 * 1024 + 123;
const io = nodeIo();

describe('an image that is passed on through a pipe', () => {
  let directory: string;
  let image: string;
  let pipe: ImagePipe;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'caddis-pass-on-'));
    image = join(directory, 'image');
    await writeFile(image, randomBytes(IMAGE_BYTES));
    pipe = await makePipe(join(directory, 'pipe'));
  });
  afterEach(async () => {
    await pipe.close();
    await rm(directory, { recursive: true });
  });

  it('arrives byte for byte, with the hash of the file', async () => {
    const copy = join(directory, 'copy');
    const reader = execa('cp', [pipe.path, copy]);
    const passed = await passOn(io, image, pipe, { gone: new AbortController().signal });
    expect(passed).toEqual({ ...(await hashFile(io, image)), passed: IMAGE_BYTES });
    pipe.writer.destroy();
    await reader;
    expect((await readFile(copy)).equals(await readFile(image))).toBe(true);
    await pipe.close();
    await expect(access(pipe.path)).rejects.toThrow();
  });

  it('is hashed to its end when its reader goes', async () => {
    const gone = new AbortController();
    const reader = execa('dd', [`if=${pipe.path}`, 'of=/dev/null', 'bs=64k', 'count=20']);
    void reader.then(() => gone.abort());
    const passed = await passOn(io, image, pipe, { gone: gone.signal });
    expect(passed).toMatchObject(await hashFile(io, image));
    expect(passed.passed).toBeLessThan(IMAGE_BYTES);
  });

  it('keeps no reader waiting whose writer has gone', async () => {
    const opening = open(pipe.path, 'r');
    await (await opening).close();
  });

  it('is given up with the reason of its signal', async () => {
    const signal = AbortSignal.timeout(50);
    const gone = AbortSignal.any([signal]);
    await expect(passOn(io, image, pipe, { signal, gone })).rejects.toThrow(/timeout|aborted/);
  });
});
