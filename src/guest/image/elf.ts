import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { CaddisError } from '../../model/errors.ts';

/** What the image builder wants to know of an ELF file. */
export interface ElfFacts {
  /** 64-bit little-endian only; e_machine (62 is x86-64, 183 is AArch64). */
  readonly machine: number;
  /** PT_INTERP: the dynamic loader, or undefined for a library or a static program. */
  readonly interpreter: string | undefined;
  /** DT_NEEDED in order. */
  readonly needed: readonly string[];
  /** DT_RUNPATH, else DT_RPATH, split at colons; `$ORIGIN` unexpanded. */
  readonly searchPath: readonly string[];
  /** A Xen PHYS32_ENTRY note: QEMU can start this kernel directly (PVH). */
  readonly pvh: boolean;
}

/** Reads a file as ELF; undefined if it is not a 64-bit little-endian one. Throws ElfDamaged if its tables point outside the file. */
export function readElfFile(path: string): ElfFacts | undefined {
  const fd = openSync(path, 'r');
  try {
    const { size: fileBytes } = fstatSync(fd);
    return readElf(fileBytes, (offset, length) => {
      const bytes = Buffer.alloc(length);
      const got = readSync(fd, bytes, 0, length, offset);
      return bytes.subarray(0, got);
    });
  } catch (error) {
    if (error instanceof ElfDamaged) throw new ElfDamaged(`${path}: ${error.message}`);
    throw error;
  } finally {
    closeSync(fd);
  }
}

export function readElfBuffer(content: Buffer): ElfFacts | undefined {
  return readElf(content.length, (offset, length) => content.subarray(offset, offset + length));
}

export class ElfDamaged extends CaddisError {
  override name = 'ElfDamaged';
}

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
}

type ReadAt = (offset: number, length: number) => Buffer;

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const PT_NOTE = 4;
const DT = { NEEDED: 1, STRTAB: 5, STRSZ: 10, RPATH: 15, RUNPATH: 29 } as const;
/** No table that we read is longer than this in an honest file. */
const TABLE_LIMIT_BYTES = 16 * 1024 * 1024;

function readElf(fileBytes: number, readAt: ReadAt): ElfFacts | undefined {
  if (fileBytes < 64) return undefined;
  const bounded = (what: string, offset: number, length: number): Buffer => {
    if (!Number.isSafeInteger(offset) || length > TABLE_LIMIT_BYTES || offset + length > fileBytes)
      throw new ElfDamaged(`${what} at ${offset}+${length} lies outside the file of ${fileBytes} bytes`);
    return readAt(offset, length);
  };
  const header = bounded('header', 0, 64);
  if (header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1) return undefined;
  const segments = readSegments(header, bounded);
  const interpreter = segments.find((segment) => segment.type === PT_INTERP);
  return {
    machine: header.readUInt16LE(18),
    interpreter: interpreter && cString(bounded('interpreter', interpreter.offset, interpreter.fileBytes), 0),
    ...readDynamic(segments, bounded),
    pvh: segments.some(
      (segment) =>
        segment.type === PT_NOTE && hasPvhNote(bounded('notes', segment.offset, segment.fileBytes)),
    ),
  };
}

type Bounded = (what: string, offset: number, length: number) => Buffer;

function readSegments(header: Buffer, bounded: Bounded): Segment[] {
  const offset = Number(header.readBigUInt64LE(32));
  const entryBytes = header.readUInt16LE(54);
  const count = header.readUInt16LE(56);
  if (count === 0) return [];
  if (entryBytes < 56) throw new ElfDamaged(`program headers of ${entryBytes} bytes, expected 56`);
  const table = bounded('program headers', offset, entryBytes * count);
  return Array.from({ length: count }, (_, index) => {
    const at = index * entryBytes;
    return {
      type: table.readUInt32LE(at),
      offset: Number(table.readBigUInt64LE(at + 8)),
      address: Number(table.readBigUInt64LE(at + 16)),
      fileBytes: Number(table.readBigUInt64LE(at + 32)),
    };
  });
}

function readDynamic(
  segments: readonly Segment[],
  bounded: Bounded,
): Pick<ElfFacts, 'needed' | 'searchPath'> {
  const dynamic = segments.find((segment) => segment.type === PT_DYNAMIC);
  if (!dynamic || dynamic.fileBytes === 0) return { needed: [], searchPath: [] };
  const table = bounded('dynamic section', dynamic.offset, dynamic.fileBytes);
  const values = new Map<number, number[]>();
  for (let at = 0; at + 16 <= table.length; at += 16) {
    const tag = Number(table.readBigUInt64LE(at));
    if (tag === 0) break;
    values.set(tag, [...(values.get(tag) ?? []), Number(table.readBigUInt64LE(at + 8))]);
  }
  const address = values.get(DT.STRTAB)?.[0];
  const home = segments.find(
    (s) =>
      s.type === PT_LOAD &&
      address !== undefined &&
      address >= s.address &&
      address < s.address + s.fileBytes,
  );
  if (address === undefined || !home) return { needed: [], searchPath: [] };
  const strings = bounded(
    'string table',
    address - home.address + home.offset,
    values.get(DT.STRSZ)?.[0] ?? 0,
  );
  const text = (tag: number) => (values.get(tag) ?? []).map((offset) => cString(strings, offset));
  const searchPath = values.has(DT.RUNPATH) ? text(DT.RUNPATH) : text(DT.RPATH);
  return {
    needed: text(DT.NEEDED),
    searchPath: searchPath.flatMap((list) => list.split(':')).filter(Boolean),
  };
}

function cString(bytes: Buffer, offset: number): string {
  const end = bytes.indexOf(0, offset);
  if (offset >= bytes.length || end < 0) throw new ElfDamaged(`string at ${offset} has no end`);
  return bytes.toString('utf8', offset, end);
}

/** XEN_ELFNOTE_PHYS32_ENTRY is type 18 with the name `Xen` (xen/include/public/elfnote.h). */
function hasPvhNote(notes: Buffer): boolean {
  for (let at = 0; at + 12 <= notes.length; ) {
    const nameBytes = notes.readUInt32LE(at);
    const descBytes = notes.readUInt32LE(at + 4);
    const isXen = notes.toString('latin1', at + 12, at + 12 + nameBytes) === 'Xen\0';
    if (isXen && notes.readUInt32LE(at + 8) === 18) return true;
    at += 12 + align4(nameBytes) + align4(descBytes);
  }
  return false;
}

function align4(length: number): number {
  return (length + 3) & ~3;
}
