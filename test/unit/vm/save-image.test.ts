import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { isStream } from '../../../src/vm/save-image.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'caddis-save-image-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** As libvirt 9.0 writes it: magic, version 2, length of the XML, stood still, format. */
function header(magic: string, format: number): Buffer {
  const numbers = Buffer.alloc(76);
  for (const [index, value] of [2, 12_345, 0, format].entries()) numbers.writeUInt32LE(value, 4 * index);
  return Buffer.concat([Buffer.from(magic), numbers]);
}

describe('an image of libvirt', () => {
  it.each([
    ['a raw one', header('LibvirtQemudSave', 0), true],
    ['another format', header('LibvirtQemudSave', 6), false],
    ['one that is not whole', header('LibvirtQemudPart', 0), false],
    ['an empty file', Buffer.alloc(0), false],
  ])('%s', async (_, content, expected) => {
    const path = join(directory, 'image');
    await writeFile(path, content);
    expect(await isStream(path)).toBe(expected);
  });
});
