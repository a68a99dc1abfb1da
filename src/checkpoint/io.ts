/**
 * All that the checkpoint store asks of a file system. One interface, so that a test can stand in for a file system that crashes, tears, reorders, fills up and hangs.
 *
 * Every operation ends within a bound. One that fails rejects with StoreUnavailable (no answer, or the file system cannot be used), StoreFull (no space, quota), or the
 * error of the system call with its `code` (ENOENT, EEXIST, ENOTEMPTY ...), which callers decide on.
 */
export interface StoreIo {
  /** Makes one directory for root alone (0700). EEXIST if the name is there. */
  mkdir(path: string): Promise<void>;
  /** Makes a small file for root alone (0600) with this content, not synced. EEXIST if the name is there. */
  create(path: string, content: Uint8Array): Promise<void>;
  /** `read`: a file that is there. `create`: a new one for root alone. `write`: one that is there, as it is. */
  open(path: string, how: 'read' | 'create' | 'write'): Promise<StoreFile>;
  /** Brings what a file contains to stable storage. It says nothing about the file's name: that is the directory's. */
  syncFile(path: string): Promise<void>;
  /** Brings the names in a directory to stable storage. */
  syncDirectory(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  link(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  rmdir(path: string): Promise<void>;
  /** Names in a directory, in no order. */
  readdir(path: string): Promise<string[]>;
  /** A whole file of at most `maxBytes`; CheckpointRefused when it is longer. */
  read(path: string, maxBytes: number): Promise<Uint8Array>;
  stat(path: string): Promise<StoreStat>;
  space(path: string): Promise<StoreSpace>;
}

/** An open file. Positions and lengths are bytes. */
export interface StoreFile {
  /** Fills `into` as far as the file reaches; returns the bytes read, short only at its end. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** Writes all of `data`. */
  write(data: Uint8Array, position: number): Promise<void>;
  truncate(bytes: number): Promise<void>;
  chown(uid: number, gid: number): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface StoreStat {
  readonly bytes: number;
  readonly directory: boolean;
  /** By the file server's clock: comparable with that of another file of the same store, with no clock of ours. */
  readonly modifiedMs: number;
}

interface StoreSpace {
  /** What an unprivileged writer may still use. */
  readonly freeBytes: number;
  readonly totalBytes: number;
}
