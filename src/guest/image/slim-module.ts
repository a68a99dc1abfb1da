/** Sections of a kernel module that a guest can do without and that cost time at every load. */
const DROPPED = new Set([
  '.BTF', // type information, parsed and checked when the module is loaded; read by BPF programs only
  '.orc_unwind', // stack unwinding: sorted when the module is loaded; without it a trace has question marks
  '.orc_unwind_ip',
  '__mcount_loc', // places that the function tracer could patch
  '_ftrace_events', // trace events: a directory of tracefs for each of them, some hundred for NFS
  '_ftrace_eval_map',
  '__bpf_raw_tp_map',
]);
const SIGNATURE_MARK = Buffer.from('~Module signature appended~\n');
/** Elf64_Ehdr and Elf64_Shdr (elf.h). */
const HEADER_BYTES = 64;
const SECTION_BYTES = 64;

/**
 * The same module without its signature, type information, unwind tables and tracing tables: about half the bytes. Under TCG, checking the signatures alone was a third
 * of the time that an NFS mount takes, since all of a module is hashed. The guest's kernel trusts its image anyway. Section numbers stay, so that symbols and relocations
 * need no change: a dropped section becomes an empty one. Anything that is no ELF64 little-endian object is given back as it is.
 */
export function slimModule(module: Buffer): Buffer {
  const bytes = Buffer.from(withoutSignature(module));
  if (bytes.length < HEADER_BYTES || bytes.readUInt32BE(0) !== 0x7f454c46 || bytes.readUInt16BE(4) !== 0x0201)
    return bytes;
  const sections = readSections(bytes);
  silenceTracer(sections);
  const dropped = sections.map(({ name }) => DROPPED.has(name.replace(/^\.rela(?=[._])/, '')));
  const parts: Buffer[] = [Buffer.from(bytes.subarray(0, HEADER_BYTES))];
  const table = Buffer.alloc(sections.length * SECTION_BYTES);
  let offset = HEADER_BYTES;
  const append = (part: Buffer, alignment: number) => {
    const padding = -offset & (alignment - 1);
    parts.push(Buffer.alloc(padding), part);
    offset += padding + part.length;
    return offset - part.length;
  };
  for (const [i, { header, content, alignment }] of sections.entries()) {
    if (dropped[i]) continue;
    header.copy(table, i * SECTION_BYTES);
    table.writeBigUInt64LE(BigInt(append(content, alignment)), i * SECTION_BYTES + 24);
  }
  const tableOffset = append(table, 8);
  (parts[0] as Buffer).writeBigUInt64LE(BigInt(tableOffset), 40);
  return Buffer.concat(parts);
}

function withoutSignature(module: Buffer): Buffer {
  if (!module.subarray(-SIGNATURE_MARK.length).equals(SIGNATURE_MARK)) return module;
  const end = module.length - SIGNATURE_MARK.length;
  // struct module_signature (include/linux/module_signature.h) ends with the signature's length, big-endian.
  return module.subarray(0, end - 12 - module.readUInt32BE(end - 4));
}

interface Section {
  readonly name: string;
  readonly header: Buffer;
  readonly content: Buffer;
  readonly alignment: number;
}

/** Every function begins with `call __fentry__`, which the tracer turns into a NOP when the module is loaded, one by one; here it is done once, and their relocations with it. */
function silenceTracer(sections: readonly Section[]): void {
  const [SHT_SYMTAB, SHT_RELA] = [2, 4];
  const symbols = sections.find(({ header }) => header.readUInt32LE(4) === SHT_SYMTAB);
  const names = symbols && sections[symbols.header.readUInt32LE(40)]?.content;
  if (!symbols || !names) return;
  const isTracer = (symbol: number) => {
    const start = symbols.content.readUInt32LE(symbol * 24);
    return names.toString('latin1', start, names.indexOf(0, start)) === '__fentry__';
  };
  const tracer = Array.from({ length: symbols.content.length / 24 }, (_, i) => i).find(isTracer);
  if (tracer === undefined) return;
  for (const { header, content } of sections) {
    const code = sections[header.readUInt32LE(44)]?.content;
    if (header.readUInt32LE(4) !== SHT_RELA || !code) continue;
    for (let at = 0; at < content.length; at += 24) {
      const place = Number(content.readBigUInt64LE(at)) - 1;
      if (content.readUInt32LE(at + 12) !== tracer || code[place] !== 0xe8) continue;
      content.writeUInt32LE(0, at + 8); // R_X86_64_NONE
      Buffer.from('0f1f440000', 'hex').copy(code, place); // the five-byte NOP that the kernel itself would write
    }
  }
}

function readSections(bytes: Buffer): Section[] {
  const tableOffset = Number(bytes.readBigUInt64LE(40));
  const count = bytes.readUInt16LE(60);
  const header = (i: number) =>
    bytes.subarray(tableOffset + i * SECTION_BYTES, tableOffset + (i + 1) * SECTION_BYTES);
  const content = (i: number) => {
    const NOTHING_IN_FILE = [0, 8]; // SHT_NULL, SHT_NOBITS
    if (NOTHING_IN_FILE.includes(header(i).readUInt32LE(4))) return Buffer.alloc(0);
    const start = Number(header(i).readBigUInt64LE(24));
    return bytes.subarray(start, start + Number(header(i).readBigUInt64LE(32)));
  };
  const names = content(bytes.readUInt16LE(62));
  return Array.from({ length: count }, (_, i) => {
    const start = header(i).readUInt32LE(0);
    return {
      name: names.toString('latin1', start, names.indexOf(0, start)),
      header: header(i),
      content: content(i),
      alignment: Math.max(Number(header(i).readBigUInt64LE(48)), 1),
    };
  });
}
