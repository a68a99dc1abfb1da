import { readFileSync } from 'node:fs';

import { expect, test } from 'vitest';

import { ElfDamaged, readElfBuffer, readElfFile } from '../../../src/guest/image/elf.ts';

test('reads interpreter and libraries of a real program', () => {
  const elf = readElfFile('/usr/bin/bash');
  expect(elf?.interpreter).toBe('/lib64/ld-linux-x86-64.so.2');
  expect(elf?.needed).toContain('libc.so.6');
  expect(elf?.machine).toBe(62);
  expect(elf?.pvh).toBe(false);
});

test('a file that is no ELF is undefined', () => {
  expect(readElfBuffer(Buffer.alloc(200, 'x'))).toBeUndefined();
  expect(readElfBuffer(Buffer.alloc(3))).toBeUndefined();
});

test('tables that point outside the file are refused, and no cut or flipped file is read past its end', () => {
  const bash = readFileSync('/usr/bin/bash');
  const lying = Buffer.from(bash.subarray(0, 4096));
  expect(() => readElfBuffer(lying)).toThrow(ElfDamaged);
  let damaged = 0;
  for (let at = 16; at < 800; at += 1) {
    const flipped = Buffer.from(bash.subarray(0, 200_000));
    flipped.writeUInt8(0xff, at);
    try {
      readElfBuffer(flipped);
    } catch (error) {
      if (!(error instanceof ElfDamaged)) throw error;
      damaged += 1;
    }
  }
  expect(damaged).toBeGreaterThan(0);
});
