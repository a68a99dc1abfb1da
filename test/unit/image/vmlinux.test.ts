import { gzipSync } from 'node:zlib';

import { expect, test } from 'vitest';

import { extractVmlinux, KernelUnusable } from '../../../src/guest/image/vmlinux.ts';

/** A 64-bit ELF whose only segment is a note: with Xen's PHYS32_ENTRY or without. */
function fakeKernel(pvh: boolean): Buffer {
  const elf = Buffer.alloc(200);
  elf.write('\x7fELF\x02\x01', 0, 'latin1');
  elf.writeUInt16LE(62, 18);
  elf.writeBigUInt64LE(64n, 32);
  elf.writeUInt16LE(56, 54);
  elf.writeUInt16LE(1, 56);
  elf.writeUInt32LE(4, 64);
  elf.writeBigUInt64LE(120n, 72);
  elf.writeBigUInt64LE(20n, 96);
  elf.writeUInt32LE(4, 120);
  elf.writeUInt32LE(4, 124);
  elf.writeUInt32LE(pvh ? 18 : 17, 128);
  elf.write('Xen\0', 132, 'latin1');
  return elf;
}

function bzImage(payload: Buffer): Buffer {
  const setup = Buffer.alloc(1024 + 16);
  setup[0x1f1] = 1;
  setup.write('HdrS', 0x202, 'latin1');
  setup.writeUInt16LE(0x20f, 0x206);
  setup.writeUInt32LE(16, 0x248);
  setup.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([setup, payload, Buffer.alloc(32)]);
}

test('unpacks the payload that the setup header names', async () => {
  const kernel = fakeKernel(true);
  expect((await extractVmlinux(bzImage(gzipSync(kernel)))).equals(kernel)).toBe(true);
});

test('refuses what QEMU could not start', async () => {
  await expect(extractVmlinux(bzImage(gzipSync(fakeKernel(false))))).rejects.toThrow(/no PVH entry/);
  await expect(extractVmlinux(Buffer.alloc(4096))).rejects.toThrow(/HdrS/);
  await expect(extractVmlinux(bzImage(Buffer.from('not compressed')))).rejects.toThrow(/got bytes 6e6f74/);
  const cut = bzImage(gzipSync(fakeKernel(true))).subarray(0, 1050);
  await expect(extractVmlinux(cut)).rejects.toThrow(KernelUnusable);
});
