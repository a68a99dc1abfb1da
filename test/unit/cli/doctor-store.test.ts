import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { stagingHasRoom, storeClock, storeHasRoom, storeWorks } from '../../../src/cli/doctor-store.ts';
import { configSchema } from '../../../src/config/schema.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'caddis-doctor-'));
  await mkdir(join(root, 'store'), { mode: 0o700 });
});
afterEach(() => rm(root, { recursive: true, force: true }));

const config = (checkpoint: object = {}) =>
  configSchema.parse({ checkpoint: { dir: join(root, 'store'), staging_dir: root, ...checkpoint } });

describe('what doctor finds of a store', () => {
  it('that works: who owns it, and nothing is left in it', async () => {
    expect(await storeWorks(config())).toMatchObject({
      verdict: 'ok',
      found: expect.stringMatching(/writable/),
    });
    expect((await storeHasRoom(config())).found).toMatch(/left in/);
    expect(await storeClock(config())).toMatchObject({
      verdict: 'ok',
      found: expect.stringMatching(/agrees/),
    });
    expect(await stagingHasRoom(config())).toMatchObject({ verdict: 'ok' });
    expect(await readdir(join(root, 'store'))).toEqual([]);
  });

  it('that is not there, is open to others, or is full', async () => {
    await expect(storeWorks(config({ dir: join(root, 'none') }))).rejects.toThrow(
      /none: expected a directory/,
    );
    await chmod(join(root, 'store'), 0o755);
    expect(await storeWorks(config())).toMatchObject({
      verdict: 'warn',
      found: expect.stringMatching(/0700/),
    });
    await mkdir(join(root, 'store/jobs'));
    await writeFile(join(root, 'store/jobs/image'), 'x'.repeat(1000));
    expect(await storeHasRoom(config({ quota: '1000' }))).toMatchObject({
      ...{ verdict: 'fail', found: expect.stringMatching(/^0 B left .*checkpoint.quota 1000 B/) },
    });
    await expect(stagingHasRoom(config({ staging_dir: join(root, 'none') }))).rejects.toThrow(/ENOENT/);
  });

  it('that a site has not set', async () => {
    const none = configSchema.parse({});
    expect(await storeWorks(none)).toMatchObject({ verdict: 'warn', found: expect.stringMatching(/afresh/) });
    expect(await storeHasRoom(none)).toMatchObject({ verdict: 'ok' });
  });
});
