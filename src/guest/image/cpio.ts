/** One entry of an initramfs. `path` is relative, without a leading slash. */
export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string; readonly mode: number }
  | { readonly kind: 'file'; readonly path: string; readonly mode: number; readonly content: Buffer }
  | {
      readonly kind: 'device';
      readonly path: string;
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

/**
 * A newc archive (kernel: Documentation/driver-api/early-userspace/buffer-format.rst) that depends on nothing but its entries: owner root,
 * time 0, inode numbers in the given order, so that the same entries give the same bytes. Parents must come before their children.
 */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const chunks: Buffer[] = [];
  entries.forEach((entry, index) => {
    if (entry.path === '' || entry.path.startsWith('/'))
      throw new Error(`cpio: expected a relative path, got ${JSON.stringify(entry.path)}`);
    append(chunks, index + 1, entry);
  });
  append(chunks, 0, { kind: 'file', path: 'TRAILER!!!', mode: 0, content: Buffer.alloc(0) });
  return Buffer.concat(chunks);
}

const TYPE_BITS = { directory: 0o040000, file: 0o100000, device: 0o020000 } as const;

function append(chunks: Buffer[], inode: number, entry: CpioEntry): void {
  const name = Buffer.from(`${entry.path}\0`);
  const content = entry.kind === 'file' ? entry.content : Buffer.alloc(0);
  const [major, minor] = entry.kind === 'device' ? [entry.major, entry.minor] : [0, 0];
  const mode = inode === 0 ? 0 : TYPE_BITS[entry.kind] | entry.mode;
  const links = entry.kind === 'directory' ? 2 : 1;
  const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, major, minor, name.length, 0];
  const header = Buffer.from(`070701${fields.map(hex8).join('')}`);
  chunks.push(header, name, padding(header.length + name.length), content, padding(content.length));
}

function hex8(value: number): string {
  return value.toString(16).padStart(8, '0').toUpperCase();
}

/** newc aligns names and contents to 4 bytes. */
function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
