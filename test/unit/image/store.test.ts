import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { checkName, ImageInUse, ImageNotFound, ImageStore } from '../../../src/guest/image/store.ts';

let root: string;
let store: ImageStore;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'caddis-store-'));
  store = new ImageStore(root);
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function publish(content: string, createdAt = '2026-01-01T00:00:00.000Z') {
  const work = await store.workDirectory();
  const parts = join(work, 'parts');
  await mkdir(parts);
  for (const name of ['vmlinux', 'initrd', 'root.erofs'])
    await writeFile(join(parts, name), `${name} ${content}`);
  const image = await store.publish(parts, {
    createdAt,
    createdBy: 'test',
    source: { kind: 'programs', programs: ['bash'], paths: [] },
    kernel: { package: 'linux-image', version: '1', release: '6.1' },
    bootModules: [],
  });
  await rm(work, { recursive: true, force: true });
  return image;
}

test('the same parts are one image whatever the time; other parts are another', async () => {
  const first = await publish('a');
  const again = await publish('a', '2027-01-01T00:00:00.000Z');
  const other = await publish('b');
  expect(again.id).toBe(first.id);
  expect(again.manifest.createdAt).toBe(first.manifest.createdAt);
  expect(other.id).not.toBe(first.id);
  expect((await store.list()).map(({ id }) => id).sort()).toEqual([first.id, other.id].sort());
  expect((await readdir(root)).filter((name) => name.startsWith('.build'))).toEqual([]);
});

test('an image cannot be written and can be read by all', async () => {
  const image = await publish('a');
  expect((await stat(image.directory)).mode & 0o777).toBe(0o555);
  for (const name of await readdir(image.directory))
    expect((await stat(join(image.directory, name))).mode & 0o777).toBe(0o444);
});

test('found by name, id and beginning of the id; a name moves in one step', async () => {
  const [a, b] = [await publish('a'), await publish('b')];
  await store.setName('lab', a.id);
  await store.setName('lab', b.id);
  expect((await store.find('lab')).id).toBe(b.id);
  expect((await store.find(a.id.slice(0, 12))).id).toBe(a.id);
  await expect(store.find('none')).rejects.toThrow(ImageNotFound);
});

test('an image that a machine or a name needs stays', async () => {
  const { id } = await publish('a');
  await store.setName('lab', id);
  await expect(store.remove(id, { force: false })).rejects.toThrow(/also named lab/);
  await expect(store.remove('lab', { force: true, users: async () => ['job slurm-17'] })).rejects.toThrow(
    ImageInUse,
  );
  expect((await store.find('lab')).id).toBe(id);
  await store.remove('lab', { force: false });
  await expect(store.find(id)).rejects.toThrow(ImageNotFound);
  expect(await readdir(join(root, 'names'))).toEqual([]);
});

test('a name is neither a path nor an id', () => {
  for (const bad of ['../x', '', '.x', 'abcdefabcdef']) expect(() => checkName(bad)).toThrow(/image name/);
  checkName('debian-12.1');
});
