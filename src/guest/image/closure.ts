import { accessSync, closeSync, constants, existsSync, openSync, readSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { CaddisError } from '../../model/errors.ts';

import type { Collector } from './collect.ts';
import { type ElfFacts, readElfFile } from './elf.ts';

/**
 * Adds programs with everything that the loader would load for them: the ELF interpreter, the libraries by DT_NEEDED (read from the files;
 * ldd would *run* a program), for scripts their interpreters. Plug-ins that a program opens by itself (dlopen) are found by `companions.ts`
 * or given as paths. Throws ProgramNotClosed.
 */
export class Closure {
  readonly #collector: Collector;
  readonly #libraries: LibrarySearch;
  readonly #done = new Set<string>();

  constructor(collector: Collector, libraries: LibrarySearch) {
    this.#collector = collector;
    this.#libraries = libraries;
  }

  /** Returns the real path of the program. */
  addProgram(nameOrPath: string): string {
    const path = findProgram(nameOrPath);
    if (/\/\.?(pyenv|rbenv|nodenv|asdf|shims)\//.test(path))
      throw new ProgramNotClosed(
        `${path} is a shim that starts another program, which cannot be known from looking at it; name the real program by its path`,
      );
    return this.addFile(path);
  }

  /** Adds a file and, if it is an ELF file or a script with `#!`, what it needs. */
  addFile(path: string): string {
    const real = this.#collector.add(path);
    if (this.#done.has(real)) return real;
    this.#done.add(real);
    const head = readHead(real);
    if (head.startsWith('\x7fELF')) this.#addElf(real);
    else if (head.startsWith('#!')) this.#addScript(real, head);
    return real;
  }

  /** For what lies in a data directory: only programs and libraries need more than themselves. */
  addDataFile(path: string): void {
    if (/\.so(\.|$)/.test(path) || (statSync(path).mode & 0o111) !== 0) {
      if (readHead(path).startsWith('\x7fELF')) this.addFile(path);
    }
  }

  #addElf(real: string): void {
    const elf = readElfFile(real);
    if (!elf) return;
    if (elf.interpreter !== undefined) this.addFile(elf.interpreter);
    for (const name of elf.needed) {
      const library = name.includes('/') ? name : this.#libraries.find(name, real, elf);
      if (library === undefined)
        throw new ProgramNotClosed(
          `${real} needs the library ${name}, which is neither in ld.so.cache nor in its RUNPATH`,
        );
      this.addFile(library);
    }
  }

  #addScript(real: string, head: string): void {
    const line = (head.split('\n')[0] ?? '').slice(2).trim();
    const [interpreter = '', ...args] = line.split(/\s+/);
    try {
      this.addFile(interpreter);
      if (/\/env$/.test(interpreter)) {
        const name = args.find((arg) => !arg.startsWith('-') && !arg.includes('='));
        if (name !== undefined) this.addProgram(name);
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new ProgramNotClosed(`${real} is a script for "${line}", which cannot be taken along: ${reason}`);
    }
  }
}

export class ProgramNotClosed extends CaddisError {
  override name = 'ProgramNotClosed';
}

/** The distribution's own directories come before PATH, which on many machines leads to version managers' shims first. */
const SYSTEM_DIRECTORIES = ['/usr/bin', '/usr/sbin', '/bin', '/sbin', '/usr/local/bin', '/usr/local/sbin'];

/** Absolute path of a program; throws ProgramNotClosed if there is none. */
function findProgram(nameOrPath: string): string {
  if (nameOrPath.startsWith('/')) {
    if (isExecutable(nameOrPath)) return nameOrPath;
    throw new ProgramNotClosed(`${nameOrPath}: no such program on this host`);
  }
  const directories = [...SYSTEM_DIRECTORIES, ...(process.env.PATH ?? '').split(':').filter(Boolean)];
  const found = directories.map((directory) => join(directory, nameOrPath)).find(isExecutable);
  if (found === undefined)
    throw new ProgramNotClosed(
      `${nameOrPath}: no such program on this host (looked in ${directories.join(':')})`,
    );
  return found;
}

/** Where the loader would find a library: RUNPATH or RPATH, ld.so.cache, the default directories (ld.so(8)). */
export class LibrarySearch {
  readonly #cache: ReadonlyMap<string, string>;

  constructor(cache: ReadonlyMap<string, string>) {
    this.#cache = cache;
  }

  /** Reads ld.so.cache through `ldconfig -p`. */
  static async load(): Promise<LibrarySearch> {
    const { stdout } = await execa('/sbin/ldconfig', ['-p'], { timeout: 10_000 });
    return new LibrarySearch(parseLdCache(stdout));
  }

  find(name: string, loader: string, elf: ElfFacts): string | undefined {
    const origin = dirname(loader);
    const own = elf.searchPath.map((directory) => directory.replace(/\$(ORIGIN|\{ORIGIN\})/g, origin));
    const inDirectory = (directory: string) => join(directory, name);
    return (
      own.map(inDirectory).find(existsSync) ??
      this.#cache.get(name) ??
      [...DEFAULT_DIRECTORIES, origin].map(inDirectory).find(existsSync)
    );
  }
}

const DEFAULT_DIRECTORIES = [
  '/lib/x86_64-linux-gnu',
  '/usr/lib/x86_64-linux-gnu',
  '/lib64',
  '/usr/lib64',
  '/lib',
  '/usr/lib',
];

/** Lines such as `libc.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libc.so.6`. The first of a name wins, as it does for the loader. */
export function parseLdCache(text: string): Map<string, string> {
  const cache = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^\s+(\S+) \(([^)]*)\) => (\S+)$/.exec(line);
    if (match?.[1] && match[3] && /x86-64/.test(match[2] ?? '') && !cache.has(match[1]))
      cache.set(match[1], match[3]);
  }
  return cache;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** As many bytes as the kernel looks at for `#!` (BINPRM_BUF_SIZE). */
function readHead(path: string): string {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(256);
    return bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(fd);
  }
}
