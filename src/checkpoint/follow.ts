import { setTimeout as sleep } from 'node:timers/promises';

import { CheckpointRefused, errnoOf } from './errors.ts';
import { CHUNK_BYTES, type HashedFile, hashChunk, joinHashes } from './hash.ts';
import type { StoreFile, StoreIo } from './io.ts';

interface FollowOptions {
  readonly signal?: AbortSignal;
  /** A new file that becomes a copy, each chunk as soon as it is there. Not synced. One that fails stays, as far as it came. */
  readonly copyTo?: string;
  /** How often to look at the file's length, in milliseconds. */
  readonly pollMs?: number;
  /** Bytes hashed so far. */
  readonly progress?: (bytes: number) => void;
}

/**
 * Hashes a file while another process still writes it from front to back, as libvirt does with a save image: each chunk as soon as the file is longer than it, so that
 * little is left to do when the writer is ready. Chunk 0 comes last, since libvirt rewrites the image's header (facts/vm.md) when all else is written.
 *
 * A writer that changes another chunk afterwards makes a hash that the file does not have: the checkpoint is then refused, never restored. A copy has the hash that is told
 * even then: whether it is one of the file as it is in the end, only another look at the file says (`copyWhileWritten`).
 */
export class HashFollower {
  readonly #io: StoreIo;
  readonly #path: string;
  readonly #pollMs: number;
  readonly #progress: ((bytes: number) => void) | undefined;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #hashes: Uint8Array[] = [];
  readonly #copyTo: string | undefined;
  #copy: StoreFile | undefined;
  readonly #following: Promise<void>;

  /** Begins at once; the file need not be there yet. */
  constructor(io: StoreIo, path: string, { signal, copyTo, pollMs = 100, progress }: FollowOptions = {}) {
    this.#io = io;
    this.#path = path;
    this.#copyTo = copyTo;
    this.#pollMs = pollMs;
    this.#progress = progress;
    this.#signal = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
    this.#following = this.#follow();
    // Heard in finish().
    this.#following.catch(() => undefined);
  }

  /** To be called when the writer is ready: hashes what is left. Throws what reading and copying threw, or the signal's reason. */
  async finish(): Promise<HashedFile> {
    this.#stop.abort();
    try {
      await this.#following;
      return await this.#finish();
    } finally {
      await this.#copy?.close();
    }
  }

  /** To be called instead of finish() when nothing will come of it. Never rejects. */
  async abandon(): Promise<void> {
    this.#stop.abort();
    await this.#following.catch(() => undefined);
    await this.#copy?.close().catch(() => undefined);
  }

  async #finish(): Promise<HashedFile> {
    const file = await this.#io.open(this.#path, 'read');
    try {
      const { bytes } = await this.#io.stat(this.#path);
      const count = Math.ceil(bytes / CHUNK_BYTES);
      if (this.#hashes.length > count)
        throw new CheckpointRefused(`${this.#path}: became shorter (${bytes} bytes) while it was written`);
      await this.#hashUpTo(file, count, bytes);
      if (count > 0) this.#hashes[0] = await this.#hashAt(file, 0, bytes);
      return { bytes, hash: joinHashes(this.#hashes, bytes) };
    } finally {
      await file.close();
    }
  }

  async #follow(): Promise<void> {
    let file: StoreFile | undefined;
    try {
      while (!this.#signal.aborted) {
        file ??= await this.#tryOpen();
        if (file) {
          const { bytes } = await this.#io.stat(this.#path);
          await this.#hashUpTo(file, Math.floor(bytes / CHUNK_BYTES), bytes, this.#signal);
        }
        await sleep(this.#pollMs, undefined, { signal: this.#signal }).catch(() => undefined);
      }
    } finally {
      await file?.close();
    }
    if (!this.#stop.signal.aborted) this.#signal.throwIfAborted();
  }

  async #tryOpen(): Promise<StoreFile | undefined> {
    try {
      return await this.#io.open(this.#path, 'read');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async #hashUpTo(file: StoreFile, count: number, bytes: number, signal?: AbortSignal): Promise<void> {
    while (this.#hashes.length < count && !signal?.aborted) {
      this.#hashes.push(await this.#hashAt(file, this.#hashes.length, bytes));
      this.#progress?.(Math.min(bytes, this.#hashes.length * CHUNK_BYTES));
    }
  }

  async #hashAt(file: StoreFile, index: number, bytes: number): Promise<Uint8Array> {
    const start = index * CHUNK_BYTES;
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, bytes - start));
    const got = await file.read(chunk, start);
    if (got < chunk.length)
      throw new CheckpointRefused(`${this.#path}: ends at ${start + got}, expected ${bytes} bytes`);
    const [hash] = await Promise.all([hashChunk(chunk), this.#write(chunk, start)]);
    return hash;
  }

  async #write(chunk: Uint8Array, at: number): Promise<void> {
    if (this.#copyTo === undefined) return;
    this.#copy ??= await this.#io.open(this.#copyTo, 'create');
    await this.#copy.write(chunk, at);
  }
}
