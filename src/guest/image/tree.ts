import { constants } from 'node:fs';
import { chmod, chown, copyFile, lutimes, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** One node of a root file system that is to be made. */
export type TreeEntry =
  | { readonly kind: 'directory'; readonly mode: number }
  | { readonly kind: 'link'; readonly target: string }
  /** A file of this host, taken over with its modification time (Python's byte code is valid only with it). */
  | { readonly kind: 'copy'; readonly source: string; readonly mode: number; readonly mtimeSeconds: number }
  | { readonly kind: 'data'; readonly content: string | Buffer; readonly mode: number };

/** A root file system as a plan: absolute guest path -> entry. Parents are added by themselves, 0755. All belongs to root. */
export class Tree {
  readonly #entries = new Map<string, TreeEntry>();

  set(path: string, entry: TreeEntry): void {
    if (!path.startsWith('/'))
      throw new Error(`tree: expected an absolute path, got ${JSON.stringify(path)}`);
    if (path === '/') return;
    this.#entries.set(path, entry);
    for (let parent = dirname(path); parent !== '/' && !this.#entries.has(parent); parent = dirname(parent))
      this.#entries.set(parent, { kind: 'directory', mode: 0o755 });
  }

  directory(path: string, mode = 0o755): void {
    this.set(path, { kind: 'directory', mode });
  }

  link(path: string, target: string): void {
    this.set(path, { kind: 'link', target });
  }

  data(path: string, content: string | Buffer, mode = 0o644): void {
    this.set(path, { kind: 'data', content, mode });
  }

  get(path: string): TreeEntry | undefined {
    return this.#entries.get(path);
  }

  has(path: string): boolean {
    return this.#entries.has(path);
  }

  /** Sorted by path, so parents come before children and two equal trees are written in the same order. */
  sorted(): [string, TreeEntry][] {
    return [...this.#entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  }
}

/** Writes the tree below `root`; what is there at the same path is replaced. Generated entries and directories get the time 0. */
export async function writeTree(tree: Tree, root: string): Promise<void> {
  const entries = tree.sorted();
  for (const [path, entry] of entries) await writeEntry(join(root, path), entry);
  // Last, since writing into a directory moves its time.
  for (const [path, entry] of entries.reverse())
    if (entry.kind === 'directory') await lutimes(join(root, path), 0, 0);
}

async function writeEntry(path: string, entry: TreeEntry): Promise<void> {
  const asRoot = process.getuid?.() === 0;
  switch (entry.kind) {
    case 'directory':
      await mkdir(path, { recursive: true });
      await chmod(path, entry.mode);
      return;
    case 'link':
      await rm(path, { force: true });
      await symlink(entry.target, path);
      await lutimes(path, 0, 0);
      return;
    case 'copy':
      await rm(path, { force: true });
      await copyFile(entry.source, path, constants.COPYFILE_FICLONE);
      if (asRoot) await chown(path, 0, 0);
      await chmod(path, entry.mode);
      await lutimes(path, entry.mtimeSeconds, entry.mtimeSeconds);
      return;
    case 'data':
      await rm(path, { force: true });
      await writeFile(path, entry.content);
      await chmod(path, entry.mode);
      await lutimes(path, 0, 0);
      return;
    default:
      entry satisfies never;
  }
}
