import { describe, expect, it } from 'vitest';

import { CheckpointRefused } from '../../../src/checkpoint/errors.ts';
import { decodeManifest, encodeManifest } from '../../../src/checkpoint/manifest.ts';
import type { Manifest } from '../../../src/checkpoint/manifest-schema.ts';
import { manifestOf } from '../../fault/store/world.ts';

const PATH = '/store/jobs/slurm-4711/generations/3/manifest.json';
const decode = (bytes: Uint8Array) => decodeManifest(bytes, PATH);
const withScratch = (scratch: Partial<NonNullable<Manifest['scratch']>>): Manifest => ({
  ...manifestOf('a'),
  scratch: {
    bytes: 10_000,
    extents: [
      [0, 100],
      [4096, 50],
    ],
    packedBytes: 150,
    hash: `sha256-4m:${'a'.repeat(64)}`,
    ...scratch,
  },
});

describe('a manifest', () => {
  it('comes back as it was written', () => {
    for (const manifest of [manifestOf('a'), withScratch({}), { ...manifestOf('a'), set: { of: 2 } }])
      expect(decode(encodeManifest(manifest))).toEqual(manifest);
  });

  it('is refused when any byte is another', () => {
    const bytes = encodeManifest(withScratch({}));
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
      expect(() => decode(damaged), `byte ${at}`).toThrow(CheckpointRefused);
    }
  });

  it('is refused when it was torn anywhere', () => {
    const bytes = encodeManifest(manifestOf('a'));
    for (let length = 0; length < bytes.length; length++)
      expect(() => decode(bytes.subarray(0, length)), `${length} bytes`).toThrow(CheckpointRefused);
    expect(() => decode(bytes.subarray(0, 40))).toThrow(/manifest\.json: torn or damaged/);
  });

  it('of another version is refused by its version, whatever else it is', () => {
    const text = JSON.stringify({ version: 2, unheard: 'of' });
    expect(() => decode(Buffer.from(text))).toThrow(/expected manifest version 1, it has 2/);
    expect(() => decode(Buffer.from('[]'))).toThrow(/it has none/);
  });

  it.each([
    ['uid', { uid: -1 }],
    ['reason', { reason: 'because' }],
    ['key', { key: { scheduler: 'slurm', jobId: '../etc', task: '0' } }],
    ['memory', { memory: { bytes: 1, hash: 'md5:00' } }],
    ['unheard', { unheard: 1 }],
  ])('with a wrong %s cannot even be written', (field, change) => {
    expect(() => encodeManifest({ ...manifestOf('a'), ...change } as Manifest)).toThrow(field);
  });

  it.each([
    [
      'overlap',
      {
        extents: [
          [0, 100],
          [50, 50],
        ] as [number, number][],
      },
    ],
    ['leave the disk', { bytes: 4100 }],
    ['are not packedBytes', { packedBytes: 151 }],
  ])('whose extents %s is refused', (_, scratch) => {
    expect(() => encodeManifest(withScratch(scratch))).toThrow(/extents/);
  });
});
