import { execFileSync } from 'node:child_process';

import { expect, test } from 'vitest';

import { writeCpio } from '../../../src/guest/image/cpio.ts';

test('GNU cpio lists the entries with their modes and sizes', () => {
  const archive = writeCpio([
    { kind: 'directory', path: 'dev', mode: 0o755 },
    { kind: 'device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'file', path: 'init', mode: 0o755, content: Buffer.from('hello') },
  ]);
  const listing = execFileSync('cpio', ['-itv', '--quiet', '--numeric-uid-gid'], {
    input: archive,
  }).toString();
  expect(listing).toMatch(/^drwxr-xr-x .* dev$/m);
  expect(listing).toMatch(/^crw------- .* 5, +1 .* dev\/console$/m);
  expect(listing).toMatch(/^-rwxr-xr-x +1 0 +0 +5 .* init$/m);
  const content = execFileSync('cpio', ['-i', '--quiet', '--to-stdout', 'init'], {
    input: archive,
  }).toString();
  expect(content).toBe('hello');
});

test('an absolute path is refused', () => {
  expect(() => writeCpio([{ kind: 'directory', path: '/dev', mode: 0o755 }])).toThrow(
    /relative path, got "\/dev"/,
  );
});
