import { randomFillSync } from 'node:crypto';
import { mkdtemp, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { CheckpointRefused } from '../../../src/checkpoint/errors.ts';
import { type Extent, joinExtents, mapExtents, packedBytes } from '../../../src/checkpoint/extents.ts';
import { CHUNK_BYTES, hashFile } from '../../../src/checkpoint/hash.ts';
import { nodeIo } from '../../../src/checkpoint/node-io.ts';
import { packScratch, unpackScratch } from '../../../src/checkpoint/scratch.ts';
import { random } from '../guest/random.ts';

const io = nodeIo();
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'caddis-scratch-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function sparse(name: string, bytes: number, data: readonly Extent[]): Promise<string> {
  const path = join(dir, name);
  const file = await open(path, 'w');
  await file.truncate(bytes);
  for (const [offset, length] of data)
    await file.write(randomFillSync(Buffer.alloc(length)), 0, length, offset);
  await file.close();
  return path;
}

describe('a scratch disk', () => {
  it('comes back byte for byte, as sparse as it was, and packed it is as small as its data', async () => {
    const bytes = 12 * CHUNK_BYTES;
    const disk = await sparse('disk', bytes, [
      [0, 100_000],
      [CHUNK_BYTES * 3 + 4096, CHUNK_BYTES + 70_000],
      [bytes - 8192, 8192],
    ]);
    const extents = await mapExtents(disk);
    const packed = join(dir, 'packed');
    const image = await packScratch(io, disk, packed, extents);
    expect(image.bytes).toBe(bytes);
    expect(image.packedBytes).toBeLessThan(2 * CHUNK_BYTES);
    expect(await hashFile(io, packed)).toEqual({ bytes: image.packedBytes, hash: image.hash });
    const again = join(dir, 'again');
    await unpackScratch(io, packed, again, image, { owner });
    expect(await hashFile(io, again)).toEqual(await hashFile(io, disk));
    expect((await stat(again)).blocks).toBeLessThanOrEqual((await stat(disk)).blocks + 64);
    expect((await stat(again)).mode & 0o777).toBe(0o600);
  });

  it('may hold nothing at all', async () => {
    const disk = await sparse('empty', 10_000_000, []);
    const image = await packScratch(io, disk, join(dir, 'nothing'), await mapExtents(disk));
    expect(image).toMatchObject({ bytes: 10_000_000, extents: [], packedBytes: 0 });
    await unpackScratch(io, join(dir, 'nothing'), join(dir, 'empty-again'), image, { owner });
    expect((await stat(join(dir, 'empty-again'))).size).toBe(10_000_000);
  });

  it('is not made of a packed file that is damaged, and nothing of it is left', async () => {
    const disk = await sparse('good', 1_000_000, [[4096, 50_000]]);
    const packed = join(dir, 'damaged');
    const image = await packScratch(io, disk, packed, await mapExtents(disk));
    const bytes = await readFile(packed);
    for (const [name, content] of [
      ['changed', Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])])],
      ['short', bytes.subarray(0, -1)],
      ['long', Buffer.concat([bytes, Buffer.from([0])])],
    ] as const) {
      await io.unlink(packed);
      await io.create(packed, content);
      await expect(unpackScratch(io, packed, join(dir, 'bad'), image, { owner }), name).rejects.toThrow(
        CheckpointRefused,
      );
    }
    expect((await readdir(dir)).filter((name) => name.startsWith('bad'))).toEqual([]);
  });

  it('that cannot be read is named', async () => {
    await expect(mapExtents(join(dir, 'missing'))).rejects.toThrow(/cannot map the scratch disk .*missing/);
  });
});

describe('extents', () => {
  it('are joined across the smallest holes until they are few enough, and lose nothing', () => {
    for (let seed = 0; seed < 200; seed++) {
      const draw = random(seed);
      const extents: Extent[] = [];
      for (let at = draw(3), i = draw(40); i >= 0; i--) {
        const length = 1 + draw(20);
        extents.push([at, length]);
        at += length + draw(30);
      }
      const max = 1 + draw(20);
      const joined = joinExtents(extents, max);
      expect(joined.length).toBeLessThanOrEqual(max);
      for (const [offset, length] of extents)
        expect(joined.some(([o, l]) => o <= offset && offset + length <= o + l)).toBe(true);
      for (const [i, [offset]] of joined.entries())
        if (i > 0)
          expect(offset).toBeGreaterThan((joined[i - 1] as Extent)[0] + (joined[i - 1] as Extent)[1]);
    }
  });

  it('stay apart while there is room', () => {
    const apart: Extent[] = [
      [0, 10],
      [11, 10],
      [50, 1],
    ];
    expect(joinExtents(apart, 3)).toEqual(apart);
    expect(joinExtents(apart, 2)).toEqual([
      [0, 21],
      [50, 1],
    ]);
    expect(
      joinExtents(
        [
          [0, 10],
          [10, 5],
        ],
        9,
      ),
    ).toEqual([[0, 15]]);
    expect(packedBytes(apart)).toBe(21);
  });
});
