import { describe, expect, it } from 'vitest';

import { slimModule } from '../../../src/guest/image/slim-module.ts';

const [PROGBITS, SYMTAB, STRTAB, RELA] = [1, 2, 3, 4];

describe('a kernel module for the guest', () => {
  const text = Buffer.from('e800000000' + 'c3' + 'e800000000', 'hex');
  const module = elf([
    { name: '.text', type: PROGBITS, content: text },
    { name: '.rela.text', type: RELA, content: Buffer.concat([call(1, 1), call(7, 2)]), link: 5, info: 1 },
    { name: '.BTF', type: PROGBITS, content: Buffer.alloc(5000, 'b') },
    { name: '.rela.orc_unwind_ip', type: RELA, content: Buffer.alloc(24) },
    { name: '.symtab', type: SYMTAB, content: Buffer.concat([symbol(0), symbol(1), symbol(12)]), link: 6 },
    { name: '.strtab', type: STRTAB, content: Buffer.from('\0__fentry__\0printk\0') },
  ]);
  const signature = Buffer.alloc(12);
  signature.writeUInt32BE(300, 8);
  const signed = Buffer.concat([
    module,
    Buffer.alloc(300, 's'),
    signature,
    Buffer.from('~Module signature appended~\n'),
  ]);

  it('has no signature and none of the tables that it does not need, and all its other sections at their numbers', () => {
    const slim = slimModule(signed);
    expect(slim.length).toBeLessThan(signed.length - 5000);
    const sections = read(slim);
    expect(sections.map(({ name }) => name)).toEqual([
      '',
      '.text',
      '.rela.text',
      '',
      '',
      '.symtab',
      '.strtab',
      '.shstrtab',
    ]);
    expect(sections[3]).toMatchObject({ type: 0, content: Buffer.alloc(0) });
    expect(sections[6]?.content.toString()).toBe('\0__fentry__\0printk\0');
  });

  it('calls the tracer no more, and everything else as before', () => {
    const [, code, relocations] = read(slimModule(signed));
    expect(code?.content.toString('hex')).toBe('0f1f440000' + 'c3' + 'e800000000');
    const types = [0, 1].map((i) => relocations?.content.readUInt32LE(i * 24 + 8));
    expect(types).toEqual([0, 4]);
  });

  it('leaves its input alone, and what is no module as it is', () => {
    expect(read(module)[1]?.content).toEqual(text);
    expect(slimModule(Buffer.from('compressed'))).toEqual(Buffer.from('compressed'));
  });
});

/** R_X86_64_PLT32 of a symbol at an offset. */
function call(offset: number, symbolNumber: number): Buffer {
  const entry = Buffer.alloc(24);
  entry.writeBigUInt64LE(BigInt(offset), 0);
  entry.writeUInt32LE(4, 8);
  entry.writeUInt32LE(symbolNumber, 12);
  entry.writeBigInt64LE(-4n, 16);
  return entry;
}

function symbol(nameOffset: number): Buffer {
  const entry = Buffer.alloc(24);
  entry.writeUInt32LE(nameOffset, 0);
  return entry;
}

interface Part {
  readonly name: string;
  readonly type: number;
  readonly content: Buffer;
  readonly link?: number;
  readonly info?: number;
}

/** An ELF64 relocatable object of these sections (elf.h), with its name table last. */
function elf(parts: readonly Part[]): Buffer {
  const names = Buffer.from(`\0${[...parts.map(({ name }) => name), '.shstrtab'].join('\0')}\0`);
  const all: Part[] = [...parts, { name: '.shstrtab', type: STRTAB, content: names }];
  const head = Buffer.alloc(64);
  head.write('7f454c460201', 0, 'hex');
  const table = Buffer.alloc(64 * (all.length + 1));
  let offset = 64;
  for (const [i, { name, type, content, link = 0, info = 0 }] of all.entries()) {
    const at = 64 * (i + 1);
    table.writeUInt32LE(names.indexOf(`\0${name}\0`) + 1, at);
    table.writeUInt32LE(type, at + 4);
    table.writeBigUInt64LE(BigInt(offset), at + 24);
    table.writeBigUInt64LE(BigInt(content.length), at + 32);
    table.writeUInt32LE(link, at + 40);
    table.writeUInt32LE(info, at + 44);
    offset += content.length;
  }
  head.writeBigUInt64LE(BigInt(offset), 40);
  head.writeUInt16LE(all.length + 1, 60);
  head.writeUInt16LE(all.length, 62);
  return Buffer.concat([head, ...all.map(({ content }) => content), table]);
}

function read(bytes: Buffer) {
  const table = Number(bytes.readBigUInt64LE(40));
  const field = (i: number, at: number) => Number(bytes.readBigUInt64LE(table + 64 * i + at));
  const content = (i: number) => bytes.subarray(field(i, 24), field(i, 24) + field(i, 32));
  const names = content(bytes.readUInt16LE(62));
  return Array.from({ length: bytes.readUInt16LE(60) }, (_, i) => {
    const start = bytes.readUInt32LE(table + 64 * i);
    return {
      name: names.toString('latin1', start, names.indexOf(0, start)),
      type: bytes.readUInt32LE(table + 64 * i + 4),
      content: content(i),
    };
  });
}
