import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import type { Log } from '../../../src/daemon/log.ts';
import { SaveSpeed } from '../../../src/daemon/pressure/save-speed.ts';
import { MiB } from '../../../src/model/units.ts';

const log = { warn: (words: string) => expect.unreachable(words) } as unknown as Log;
let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'save-speed-'));
});
afterEach(() => rm(dir, { recursive: true }));

it('what saves moved is known to the next caddisd', async () => {
  const fresh = new SaveSpeed(dir, log).bytesPerSecond;
  const first = new SaveSpeed(dir, log);
  first.saw(200 * MiB, 10_000);
  expect(first.bytesPerSecond).toBeLessThan(21 * MiB);
  await vi.waitFor(
    async () => {
      const text = await readFile(join(dir, 'save-speed.json'), 'utf8');
      expect(JSON.parse(text).bytesPerSecond).toBe(Math.round(first.bytesPerSecond));
    },
    { timeout: 10_000 },
  );
  const second = new SaveSpeed(dir, log);
  expect(second.bytesPerSecond).toBeLessThan(fresh);
  expect(second.bytesPerSecond).toBe(Math.round(first.bytesPerSecond));
});

it.each(['', '{', '{}', '{"bytesPerSecond":0}', '{"bytesPerSecond":"1"}', 'null'])(
  'a note that says %j is as good as none',
  async (text) => {
    const fresh = new SaveSpeed(dir, log).bytesPerSecond;
    await writeFile(join(dir, 'save-speed.json'), text);
    expect(new SaveSpeed(dir, log).bytesPerSecond).toBe(fresh);
  },
);
