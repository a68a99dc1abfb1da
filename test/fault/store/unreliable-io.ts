import { basename, dirname } from 'node:path';

import { CheckpointRefused } from '../../../src/checkpoint/errors.ts';
import type { StoreFile, StoreIo, StoreStat } from '../../../src/checkpoint/io.ts';
import { DirectoryNode, type Fate, FileNode, type Node } from './disk.ts';

/** Thrown by every operation after the crash: the process is gone, and none of its clean-up runs. */
export class Crashed extends Error {
  override name = 'Crashed';
}

/** One operation, as it is about to be done. */
export interface Operation {
  /** From 1. */
  readonly index: number;
  readonly what: string;
  readonly path: string;
  /** Whether it changes anything that a crash could leave half done. */
  readonly changes: boolean;
}

/** What a test makes of an operation. `before` may wait, or throw instead of it; `after` may throw although it was done. */
export interface Weather {
  readonly before?: (operation: Operation) => Promise<void> | void;
  readonly after?: (operation: Operation) => void;
  /** Whether a server does it twice and answers with the second outcome, as NFS may. */
  readonly twice?: (operation: Operation) => boolean;
}

/** The store's file system in memory: one that crashes, loses and tears what was not synced, fills up, hangs and comes back. */
export class UnreliableIo implements StoreIo {
  weather: Weather = {};
  /** What was asked, in order. */
  readonly log: Operation[] = [];
  /** By the file server's clock: advance it as a test needs. */
  clockMs = 1_000_000;
  /** Of one that came out of a crash: nothing is lost but what was not asked yet. */
  onlyProcessDied = false;
  readonly #root: DirectoryNode;

  constructor(root = new DirectoryNode()) {
    this.#root = root;
  }

  /** What is there when the machine is up again. This one goes on as if nothing had happened. */
  afterCrash(fate: Fate): UnreliableIo {
    const left = new UnreliableIo(this.#root.afterCrash(fate));
    left.clockMs = this.clockMs;
    left.onlyProcessDied = fate.losesNothing;
    return left;
  }

  /** All that is there is on stable storage from now on. */
  settle(): void {
    this.#root.settle();
  }

  /** The content of a file, to compare or to damage; it is part of no operation. */
  peek(path: string): Uint8Array {
    return this.#file(path).content;
  }

  /** Replaces a file's content, as decay would. */
  damage(path: string, content: Uint8Array): void {
    const file = this.#file(path);
    file.content = new Uint8Array(content);
    file.sync();
  }

  mkdir(path: string): Promise<void> {
    return this.#do('mkdir', path, true, () => this.#add(path, new DirectoryNode()));
  }

  create(path: string, content: Uint8Array): Promise<void> {
    return this.#do('create', path, true, () => {
      const file = new FileNode();
      this.#add(path, file);
      file.change({ kind: 'write', position: 0, data: Uint8Array.from(content) });
      file.modifiedMs = this.clockMs;
    });
  }

  open(path: string, how: 'read' | 'create' | 'write'): Promise<StoreFile> {
    return this.#do('open', path, how === 'create', () => {
      if (how === 'create') this.#add(path, new FileNode());
      return this.#handle(path, this.#file(path));
    });
  }

  syncFile(path: string): Promise<void> {
    return this.#do('fsync', path, true, () => this.#file(path).sync());
  }

  syncDirectory(path: string): Promise<void> {
    return this.#do('fsync', path, true, () => this.#directory(path).sync());
  }

  rename(from: string, to: string): Promise<void> {
    return this.#do('rename', to, true, () => {
      const node = this.#find(from);
      const parent = this.#directory(dirname(from));
      if (dirname(from) !== dirname(to)) throw errno('EXDEV', to);
      const there = parent.names.get(basename(to));
      if (there instanceof DirectoryNode && there.names.size > 0) throw errno('ENOTEMPTY', to);
      parent.change([
        [basename(from), undefined],
        [basename(to), node],
      ]);
      parent.modifiedMs = this.clockMs;
    });
  }

  link(from: string, to: string): Promise<void> {
    return this.#do('link', to, true, () => this.#add(to, this.#file(from)));
  }

  unlink(path: string): Promise<void> {
    return this.#do('unlink', path, true, () => {
      this.#file(path);
      this.#remove(path);
    });
  }

  rmdir(path: string): Promise<void> {
    return this.#do('rmdir', path, true, () => {
      if (this.#directory(path).names.size > 0) throw errno('ENOTEMPTY', path);
      this.#remove(path);
    });
  }

  readdir(path: string): Promise<string[]> {
    return this.#do('readdir', path, false, () => [...this.#directory(path).names.keys()]);
  }

  read(path: string, maxBytes: number): Promise<Uint8Array> {
    return this.#do('read', path, false, () => {
      const { content } = this.#file(path);
      if (content.length > maxBytes) throw new CheckpointRefused(`${path}: longer than ${maxBytes}`);
      return Uint8Array.from(content);
    });
  }

  stat(path: string): Promise<StoreStat> {
    return this.#do('stat', path, false, () => {
      const node = this.#find(path);
      const directory = node instanceof DirectoryNode;
      return { bytes: directory ? 0 : node.content.length, directory, modifiedMs: node.modifiedMs };
    });
  }

  space(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
    return this.#do('statfs', path, false, () => ({ freeBytes: 1e12, totalBytes: 1e12 }));
  }

  #handle(path: string, file: FileNode): StoreFile {
    const changed = <T>(value: T) => {
      file.modifiedMs = this.clockMs;
      return value;
    };
    return {
      read: (into, position) =>
        this.#do('read', path, false, () => {
          const found = file.content.subarray(position, position + into.length);
          into.set(found);
          return found.length;
        }),
      write: (data, position) =>
        this.#do('write', path, true, () =>
          changed(file.change({ kind: 'write', position, data: Uint8Array.from(data) })),
        ),
      truncate: (bytes) =>
        this.#do('truncate', path, true, () => changed(file.change({ kind: 'truncate', bytes }))),
      chown: () => this.#do('chown', path, false, () => undefined),
      sync: () => this.#do('fsync', path, true, () => file.sync()),
      close: () => this.#do('close', path, false, () => undefined),
    };
  }

  async #do<T>(what: string, path: string, changes: boolean, action: () => T): Promise<T> {
    const operation = { index: this.log.length + 1, what, path, changes };
    this.log.push(operation);
    await this.weather.before?.(operation);
    let result = action();
    if (this.weather.twice?.(operation)) result = action();
    this.weather.after?.(operation);
    return result;
  }

  #find(path: string): Node {
    let node: Node = this.#root;
    for (const name of path.split('/').filter(Boolean)) {
      const next: Node | undefined = node instanceof DirectoryNode ? node.names.get(name) : undefined;
      if (!next) throw errno('ENOENT', path);
      node = next;
    }
    return node;
  }

  #file(path: string): FileNode {
    const node = this.#find(path);
    if (node instanceof FileNode) return node;
    throw errno('EISDIR', path);
  }

  #directory(path: string): DirectoryNode {
    const node = this.#find(path);
    if (node instanceof DirectoryNode) return node;
    throw errno('ENOTDIR', path);
  }

  #add(path: string, node: Node): void {
    const parent = this.#directory(dirname(path));
    if (parent.names.has(basename(path))) throw errno('EEXIST', path);
    parent.change([[basename(path), node]]);
    parent.modifiedMs = this.clockMs;
    if (node.modifiedMs === 0) node.modifiedMs = this.clockMs;
  }

  #remove(path: string): void {
    const parent = this.#directory(dirname(path));
    parent.change([[basename(path), undefined]]);
    parent.modifiedMs = this.clockMs;
  }
}

function errno(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
