import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { Tree } from './tree.ts';

/** Takes paths of this host over into a tree, with every symbolic link on the way to them, so that each path resolves in the guest as it does here. */
export class Collector {
  readonly tree = new Tree();
  /** Every path that the tree depends on, for telling later whether anything changed. */
  readonly sources = new Set<string>();

  /** Adds a file or link and returns its real path. A directory is added without its content. Throws with the path if it does not exist. */
  add(path: string): string {
    let real = '/';
    let rest = path.split('/').filter(Boolean);
    for (let links = 0; rest.length > 0; ) {
      const [next = '', ...others] = rest;
      const here = join(real, next);
      const found = lstatSync(here);
      if (found.isSymbolicLink()) {
        // As many as Linux follows (path_resolution(7)).
        if (++links > 40) throw new Error(`${path}: more than 40 symbolic links`);
        const target = readlinkSync(here);
        this.#note(here, () => this.tree.link(here, target));
        rest = [...resolve(real, target).split('/').filter(Boolean), ...others];
        real = '/';
      } else {
        if (found.isDirectory()) this.#note(here, () => this.tree.directory(here, found.mode & 0o7777));
        else if (found.isFile())
          this.#note(here, () =>
            this.tree.set(here, {
              kind: 'copy',
              source: here,
              mode: found.mode & 0o7777,
              mtimeSeconds: Math.floor(found.mtimeMs / 1000),
            }),
          );
        else
          throw new Error(
            `${here}: expected a file, directory or link; devices and sockets cannot be in an image`,
          );
        real = here;
        rest = others;
      }
    }
    return real;
  }

  /** Adds a path and, if it is a directory, all below it that `keep` does not refuse; what links in it point at comes too if they are followed. Returns the files' real paths. */
  addAll(
    path: string,
    keep: (realPath: string) => boolean = () => true,
    links: 'follow' | 'asTheyAre' = 'follow',
  ): string[] {
    const real = this.add(path);
    if (!lstatSync(real).isDirectory()) return [real];
    const files: string[] = [];
    for (const entry of readdirSync(real, { withFileTypes: true })) {
      const child = join(real, entry.name);
      if (!keep(child)) continue;
      if (entry.isDirectory()) files.push(...this.addAll(child, keep, links));
      else if (entry.isFile()) files.push(this.add(child));
      else if (entry.isSymbolicLink() && links === 'follow') this.#addLink(child, files);
      else if (entry.isSymbolicLink()) this.tree.link(child, readlinkSync(child));
    }
    return files;
  }

  /** A link inside a data directory may dangle natively too; then it dangles in the guest. */
  #addLink(path: string, files: string[]): void {
    try {
      const real = this.add(path);
      if (lstatSync(real).isFile()) files.push(real);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      this.tree.link(path, readlinkSync(path));
    }
  }

  #note(path: string, put: () => void): void {
    if (this.sources.has(path)) return;
    this.sources.add(path);
    put();
  }
}
