import { expect, test } from 'vitest';

import { packageSpec, parseUris, resolveDebs } from '../../../src/guest/image/apt.ts';
import { parseLdCache } from '../../../src/guest/image/closure.ts';

test('reads what apt would fetch, in a fixed order', () => {
  const text = [
    'Reading package lists...',
    "'http://deb.debian.org/debian/pool/main/b/bash/bash_5.2.15-2%2bb8_amd64.deb' bash_5.2.15-2+b8_amd64.deb 1491 SHA256:ab",
    "'http://deb.debian.org/debian/pool/main/a/acl/acl_1%3a2.3_amd64.deb' acl_1%3a2.3_amd64.deb 17 MD5Sum:cd",
  ].join('\n');
  expect(parseUris(text).map(({ fileName, bytes, hash }) => [fileName, bytes, hash])).toEqual([
    ['acl_1%3a2.3_amd64.deb', 17, 'MD5Sum:cd'],
    ['bash_5.2.15-2+b8_amd64.deb', 1491, 'SHA256:ab'],
  ]);
});

test('names the version that was resolved', () => {
  expect(packageSpec({ fileName: 'acl_1%3a2.3_amd64.deb' })).toBe('acl:amd64=1:2.3');
  expect(packageSpec({ fileName: 'tzdata_2024a-0_all.deb' })).toBe('tzdata=2024a-0');
});

test('a package name cannot be an option of apt', async () => {
  await expect(resolveDebs(['-oAPT::x=y'], { dependencies: true })).rejects.toThrow(/got "-oAPT::x=y"/);
});

test('the first 64-bit entry of a library wins', () => {
  const cache = parseLdCache(
    '2 libs found\n\tlibc.so.6 (libc6) => /lib32/libc.so.6\n\tlibc.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libc.so.6\n\tlibc.so.6 (libc6,x86-64) => /old/libc.so.6\n',
  );
  expect([...cache]).toEqual([['libc.so.6', '/lib/x86_64-linux-gnu/libc.so.6']]);
});
