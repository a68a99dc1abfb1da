import { chmod, mkdir, mkdtemp, readdir, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { isLeftOver } from '../../../src/daemon/adopt.ts';
import { openStaging } from '../../../src/daemon/moving/staging.ts';

describe('files of machines that are gone', () => {
  const leftOver = (file: string) => isLeftOver(file, (machine) => machine === 'caddis-a1');

  it('are disks, what was being unpacked, and what a checkpoint was made of', () => {
    for (const file of ['caddis-b2.img', 'caddis-b2.img.part', '.caddis-b2.snapshot'])
      expect(leftOver(file), file).toBe(true);
  });
  it("are none of a machine that is there, and none of the site's own", () => {
    for (const file of [
      'caddis-a1.img',
      'caddis-a1.img.part',
      '.caddis-a1.snapshot',
      'data.img',
      'caddis-b2.iso',
    ])
      expect(leftOver(file), file).toBe(false);
  });
});

describe('where images wait for their copy', () => {
  let dir: string;
  const said: string[] = [];
  const log = { warn: (text: string) => said.push(text) } as never;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'caddis-staging-'));
    said.length = 0;
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));
  const isRoots = async (path: string) => expect((await stat(path)).mode & 0o777).toBe(0o700);

  it("is a directory of root's alone, which stays", async () => {
    const path = await openStaging(dir, log);
    await isRoots(path);
    expect(await openStaging(dir, log)).toBe(path);
    expect(said).toEqual([]);
  });

  it.each([
    ['a directory in which others may write', (path: string) => mkdir(path).then(() => chmod(path, 0o777))],
    ['a link to elsewhere', (path: string) => symlink(tmpdir(), path)],
  ])('is never %s', async (_, make) => {
    await make(join(dir, 'caddis'));
    await isRoots(await openStaging(dir, log));
    expect(said[0]).toMatch(/was not root's alone/);
    expect((await readdir(dir)).sort()[1]).toMatch(/^caddis-not-ours-/);
  });
});
