import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { CheckpointRefused, StoreFull, StoreUnavailable } from '../../../src/checkpoint/errors.ts';
import { Gate } from '../../../src/checkpoint/gate.ts';
import { nodeIo } from '../../../src/checkpoint/node-io.ts';

let dir: string;
const io = nodeIo();
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'caddis-io-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('the real file system', () => {
  it('makes everything for root alone', async () => {
    await io.mkdir(join(dir, 'd'));
    await io.create(join(dir, 'd/f'), Buffer.from('x'));
    await (await io.open(join(dir, 'd/g'), 'create')).close();
    expect((await stat(join(dir, 'd'))).mode & 0o777).toBe(0o700);
    for (const name of ['f', 'g']) expect((await stat(join(dir, 'd', name))).mode & 0o777).toBe(0o600);
  });

  it('tells apart what a caller decides on', async () => {
    const [there, missing] = [join(dir, 'there'), join(dir, 'missing')];
    await io.create(there, Buffer.from('old'));
    await expect(io.create(there, Buffer.from('new'))).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(io.open(there, 'create')).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(io.read(missing, 10)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(io.rmdir(missing)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(io.read(there, 2)).rejects.toThrow(CheckpointRefused);
    expect(await readFile(there, 'utf8')).toBe('old');
  });

  it('reads and writes at positions', async () => {
    const file = await io.open(join(dir, 'f'), 'create');
    await file.write(Buffer.from('world'), 6);
    await file.write(Buffer.from('hello '), 0);
    await file.truncate(20);
    await file.sync();
    const into = new Uint8Array(30);
    expect(await file.read(into, 0)).toBe(20);
    expect(Buffer.from(into.subarray(0, 11)).toString()).toBe('hello world');
    expect(await file.read(into, 20)).toBe(0);
    await file.close();
    await io.syncFile(join(dir, 'f'));
    await io.syncDirectory(dir);
    expect((await io.space(dir)).freeBytes).toBeGreaterThan(0);
  });

  it('says when it is full', async () => {
    const full = await io.open('/dev/full', 'write');
    await expect(full.write(Buffer.from('x'), 0)).rejects.toThrow(StoreFull);
    await full.close();
  });
});

describe('a file system that does not answer', () => {
  const never = () => new Promise<never>(() => undefined);

  it('is named when the deadline is over', async () => {
    const gate = new Gate(2);
    const asked = gate.run('/store/jobs', 'readdir', 20, never);
    await expect(asked).rejects.toThrow(StoreUnavailable);
    await expect(asked).rejects.toThrow('/store/jobs: readdir was not done within 0.02 s');
  });

  it('holds no more threads than it may, and frees them when it answers', async () => {
    const gate = new Gate(2);
    let inside = 0;
    const answers: (() => void)[] = [];
    const hang = () => {
      inside += 1;
      return new Promise<void>((resolve) => answers.push(resolve));
    };
    const asked = Array.from({ length: 5 }, () => gate.run('/store', 'stat', 20, hang));
    const outcomes = await Promise.allSettled(asked);
    expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true);
    expect(inside).toBe(2);
    for (const answer of answers) answer();
    await new Promise(setImmediate);
    expect(await gate.run('/store', 'stat', 1000, async () => 'well')).toBe('well');
  });
});
