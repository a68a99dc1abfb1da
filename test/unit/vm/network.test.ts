import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { parseMounts, withAddress } from '../../../src/vm/host-mounts.ts';
import {
  claimAddress,
  macOf,
  parseRange,
  releaseAddress,
  releaseStale,
} from '../../../src/vm/network/addresses.ts';

describe('address claims', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'claims-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));
  const range = parseRange('10.0.0.250-10.0.1.3');

  it('gives every machine an address of its own, also when they ask at once, and refuses when all are taken', async () => {
    const claims = await Promise.all(
      Array.from({ length: 10 }, (_, i) => claimAddress(dir, range, { host: 'n1', machine: `caddis-${i}` })),
    );
    expect(new Set(claims).size).toBe(10);
    expect(claims).toContain('10.0.1.0');
    await expect(claimAddress(dir, range, { host: 'n1', machine: 'caddis-x' })).rejects.toThrow(
      'all 10 addresses',
    );
    expect((await readdir(dir)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('releases only what is its own', async () => {
    const address = await claimAddress(dir, range, { host: 'n1', machine: 'caddis-1' });
    await releaseAddress(dir, address, { host: 'n2', machine: 'caddis-1' });
    expect(await readdir(dir)).toEqual([address]);
    await releaseAddress(dir, address, { host: 'n1', machine: 'caddis-1' });
    expect(await readdir(dir)).toEqual([]);
  });

  it('gives back what this host held for machines that are gone, and nothing of other hosts', async () => {
    const gone = await claimAddress(dir, range, { host: 'n1', machine: 'caddis-gone' });
    await claimAddress(dir, range, { host: 'n1', machine: 'caddis-alive' });
    await claimAddress(dir, range, { host: 'n2', machine: 'caddis-other' });
    await writeFile(join(dir, 'torn'), '');
    expect(await releaseStale(dir, 'n1', (machine) => machine === 'caddis-alive')).toEqual([gone]);
    expect(await readdir(dir)).toHaveLength(3);
  });

  it('keeps the address of a machine that is gone and has a checkpoint', async () => {
    const address = await claimAddress(dir, range, { host: 'n1', machine: 'caddis-saved' });
    await releaseStale(
      dir,
      'n1',
      () => false,
      async (machine) => machine === 'caddis-saved',
    );
    expect(await readFile(join(dir, address), 'utf8')).toBe('- caddis-saved\n');
  });

  it('refuses what is no range', () => {
    for (const text of ['10.0.0.9-10.0.0.1', '10.0.0.256-10.0.1.0', '10.0.0.1'])
      expect(() => parseRange(text)).toThrow(RangeError);
    expect(macOf('10.77.0.100')).toBe('52:54:0a:4d:00:64');
  });
});

describe('mounts of the host', () => {
  const text = [
    'proc /proc proc rw 0 0',
    'srv:/export/home /home nfs4 rw,relatime,vers=4.2,hard,clientaddr=10.0.0.5,addr=10.0.0.1 0 0',
    'srv:/a\\040b /data\\040set nfs rw,addr=10.0.0.1 0 0',
    '/dev/sda1 / ext4 rw 0 0',
  ].join('\n');

  it('takes the network file systems, unescaped, without the host as client', () => {
    expect(parseMounts(text)).toEqual([
      {
        type: 'nfs4',
        source: 'srv:/export/home',
        target: '/home',
        options: 'rw,vers=4.2,hard,addr=10.0.0.1',
      },
      { type: 'nfs4', source: 'srv:/a b', target: '/data set', options: 'rw,addr=10.0.0.1' },
    ]);
  });

  it("adds the machine's own address", () => {
    const [home] = parseMounts(text);
    if (!home) throw new Error('no mount');
    expect(withAddress(home, '10.0.0.77').options).toMatch(/,clientaddr=10\.0\.0\.77$/);
    expect(withAddress({ ...home, options: 'x={address},clientaddr=1.2.3.4' }, '10.0.0.77').options).toBe(
      'x=10.0.0.77,clientaddr=1.2.3.4',
    );
  });
});
