import { createHash, randomFillSync } from 'node:crypto';
import {
  appendFile,
  type FileHandle,
  mkdtemp,
  open,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import { copyImage } from '../../../src/checkpoint/copy.ts';
import { copyWhileWritten } from '../../../src/checkpoint/copy-while-written.ts';
import { HashFollower } from '../../../src/checkpoint/follow.ts';
import { CHUNK_BYTES, hashFile } from '../../../src/checkpoint/hash.ts';
import { nodeIo } from '../../../src/checkpoint/node-io.ts';

const io = nodeIo();
const content = randomFillSync(Buffer.alloc(2 * CHUNK_BYTES + 12_345));
let dir: string;
let file: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'caddis-hash-'));
  file = join(dir, 'image');
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** The definition, said again in another way. */
function hashOf(bytes: Buffer): string {
  const digests: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 4_194_304)
    digests.push(
      createHash('sha256')
        .update(bytes.subarray(at, at + 4_194_304))
        .digest(),
    );
  const length = Buffer.from(bytes.length.toString(16).padStart(16, '0'), 'hex');
  return `sha256-4m:${createHash('sha256')
    .update(Buffer.concat([...digests, length]))
    .digest('hex')}`;
}

describe('the hash of an image', () => {
  it.each([0, 1, 4095, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, content.length])(
    'is the same for hashing and copying: %i bytes',
    async (length) => {
      const bytes = content.subarray(0, length);
      await writeFile(file, bytes);
      const seen: number[] = [];
      const expected = { bytes: length, hash: hashOf(bytes) };
      expect(await hashFile(io, file, { progress: (done) => seen.push(done) })).toEqual(expected);
      expect(seen.at(-1) ?? 0).toBe(length);
      const copy = join(dir, `copy-${length}`);
      expect(await copyImage(io, file, copy)).toEqual(expected);
      expect((await hashFile(io, copy)).hash).toBe(expected.hash);
    },
  );

  it('ends with its signal', async () => {
    await writeFile(file, content);
    const stop = new AbortController();
    const hashing = hashFile(io, file, { signal: stop.signal, progress: () => stop.abort() });
    await expect(hashing).rejects.toThrow(/abort/i);
  });
});

describe('a copy', () => {
  it('keeps to its rate', async () => {
    await writeFile(file, content.subarray(0, CHUNK_BYTES));
    const begun = performance.now();
    await copyImage(io, file, join(dir, 'slow'), { bytesPerSecond: CHUNK_BYTES * 5 });
    expect(performance.now() - begun).toBeGreaterThan(190);
  });
});

describe('a copy of a file that is being written', () => {
  const said: string[] = [];
  const copy = () => join(dir, 'copy-while-written');
  const copyOf = (write: () => Promise<void>, isStream = false) =>
    copyWhileWritten(io, {
      ...{ from: file, to: copy(), write },
      isStream: () => Promise.resolve(isStream),
      say: (text) => said.push(text),
    });
  const writeSlowly = async (touch: (writer: FileHandle) => Promise<unknown>) => {
    await writeFile(file, Buffer.alloc(CHUNK_BYTES));
    for (let at = CHUNK_BYTES; at < content.length; at += 2_000_000) {
      await appendFile(file, content.subarray(at, Math.min(at + 2_000_000, content.length)));
      await sleep(60);
    }
    const writer = await open(file, 'r+');
    await touch(writer);
    await writer.close();
  };
  beforeEach(async () => {
    said.length = 0;
    await Promise.all([file, copy()].map((path) => rm(path, { force: true })));
  });

  it.each([true, false])('is the file when its beginning was written last: stream %s', async (stream) => {
    const write = () => writeSlowly((writer) => writer.write(content, 0, CHUNK_BYTES, 0));
    const copied = await copyOf(write, stream);
    expect(copied).toEqual({ bytes: content.length, hash: hashOf(content) });
    expect((await readFile(copy())).equals(content)).toBe(true);
    expect(said).toEqual([]);
  });

  it('is made anew when something else was written last', async () => {
    const copied = await copyOf(() =>
      writeSlowly(async (writer) => {
        await vi.waitFor(async () => expect((await stat(copy())).size).toBe(2 * CHUNK_BYTES), 5000);
        await writer.write(Buffer.from('x'), 0, 1, CHUNK_BYTES + 5);
      }),
    );
    const whole = await readFile(file);
    expect(copied).toEqual({ bytes: whole.length, hash: hashOf(whole) });
    expect((await readFile(copy())).equals(whole)).toBe(true);
    expect(said).toEqual([expect.stringContaining('copied once more')]);
  });

  it('fails with its writer', async () => {
    await expect(copyOf(() => Promise.reject(new Error('no machine')))).rejects.toThrow('no machine');
    await writeFile(file, content);
    const cut = async () => {
      await vi.waitFor(async () => expect((await stat(copy())).size).toBeGreaterThan(0), 5000);
      await truncate(file, 100);
    };
    await expect(copyOf(cut)).rejects.toThrow(/became shorter/);
  });
});

describe('a follower', () => {
  it('has the hash of a file that grew and whose beginning was written last', async () => {
    await rm(file, { force: true });
    const follower = new HashFollower(io, file, { pollMs: 2 });
    await sleep(10);
    await writeFile(file, Buffer.alloc(CHUNK_BYTES));
    for (let at = CHUNK_BYTES; at < content.length; at += 2_000_000) {
      await appendFile(file, content.subarray(at, Math.min(at + 2_000_000, content.length)));
      await sleep(5);
    }
    const writer = await open(file, 'r+');
    await writer.write(content, 0, CHUNK_BYTES, 0);
    await writer.close();
    expect(await follower.finish()).toEqual({ bytes: content.length, hash: hashOf(content) });
  });

  it('has it also when it never had time to look', async () => {
    await writeFile(file, content);
    expect((await new HashFollower(io, file).finish()).hash).toBe(hashOf(content));
    await writeFile(file, '');
    expect(await new HashFollower(io, file).finish()).toEqual({ bytes: 0, hash: hashOf(Buffer.alloc(0)) });
  });

  it('refuses a file that became shorter', async () => {
    await writeFile(file, content);
    const follower = new HashFollower(io, file, { pollMs: 2 });
    await sleep(100);
    await truncate(file, 10);
    await expect(follower.finish()).rejects.toThrow(/became shorter/);
  });

  it('ends with its signal', async () => {
    const stop = new AbortController();
    const follower = new HashFollower(io, join(dir, 'never'), { signal: stop.signal, pollMs: 2 });
    stop.abort(new Error('the job is gone'));
    await sleep(5);
    await expect(follower.finish()).rejects.toThrow('the job is gone');
  });
});
