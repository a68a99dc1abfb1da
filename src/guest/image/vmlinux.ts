import { execa } from 'execa';

import { CaddisError } from '../../model/errors.ts';
import { readElfBuffer } from './elf.ts';

/**
 * The uncompressed kernel inside a bzImage. QEMU starts it through its PVH entry 0.5 s sooner than the bzImage (facts/vm.md). The place of
 * the payload is in the setup header (kernel: Documentation/arch/x86/boot.rst, protocol >= 2.08), so nothing is searched for.
 * Throws KernelUnusable saying what was found instead.
 */
export async function extractVmlinux(bzImage: Buffer): Promise<Buffer> {
  const payload = findPayload(bzImage);
  const format = FORMATS.find(({ magic }) => payload.subarray(0, magic.length).equals(magic));
  if (!format)
    throw new KernelUnusable(
      `kernel payload: expected gzip, xz, zstd, lz4, bzip2 or lzma, got bytes ${payload.subarray(0, 6).toString('hex')}`,
    );
  // The kernel's build appends the unpacked size; gzip carries the same number as its own last field.
  const expectedBytes = payload.readUInt32LE(payload.length - 4);
  const packed = format.ownsSize ? payload : payload.subarray(0, payload.length - 4);
  const [tool, ...args] = format.argv;
  const { stdout } = await execa(tool, args, {
    input: packed,
    encoding: 'buffer',
    maxBuffer: 1 << 30,
    timeout: 60_000,
  });
  const vmlinux = Buffer.from(stdout);
  if (vmlinux.length !== expectedBytes)
    throw new KernelUnusable(
      `kernel payload: unpacked ${vmlinux.length} bytes, its header promised ${expectedBytes}`,
    );
  if (!readElfBuffer(vmlinux)?.pvh)
    throw new KernelUnusable(
      'kernel: no PVH entry note; it needs CONFIG_PVH=y to be started directly by QEMU',
    );
  return vmlinux;
}

export class KernelUnusable extends CaddisError {
  override name = 'KernelUnusable';
}

const FORMATS: readonly { magic: Buffer; argv: readonly [string, ...string[]]; ownsSize: boolean }[] = [
  { magic: Buffer.from('1f8b', 'hex'), argv: ['gzip', '-dc'], ownsSize: true },
  { magic: Buffer.from('fd377a585a00', 'hex'), argv: ['xz', '-dc'], ownsSize: false },
  { magic: Buffer.from('28b52ffd', 'hex'), argv: ['zstd', '-dcq'], ownsSize: false },
  { magic: Buffer.from('02214c18', 'hex'), argv: ['lz4', '-dc'], ownsSize: false },
  { magic: Buffer.from('425a68', 'hex'), argv: ['bzip2', '-dc'], ownsSize: false },
  { magic: Buffer.from('5d0000', 'hex'), argv: ['lzma', '-dc'], ownsSize: false },
];

function findPayload(bzImage: Buffer): Buffer {
  if (bzImage.length < 0x260 || bzImage.toString('latin1', 0x202, 0x206) !== 'HdrS')
    throw new KernelUnusable('kernel: expected a bzImage with the setup header "HdrS" at 0x202');
  const protocol = bzImage.readUInt16LE(0x206);
  if (protocol < 0x208)
    throw new KernelUnusable(`kernel: boot protocol ${protocol.toString(16)}, expected 2.08 or newer`);
  const start = ((bzImage[0x1f1] || 4) + 1) * 512 + bzImage.readUInt32LE(0x248);
  const length = bzImage.readUInt32LE(0x24c);
  if (length < 8 || start + length > bzImage.length)
    throw new KernelUnusable(
      `kernel: payload ${start}+${length} lies outside the file of ${bzImage.length} bytes`,
    );
  return bzImage.subarray(start, start + length);
}
