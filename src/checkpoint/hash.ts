import { createHash, webcrypto } from 'node:crypto';

import { CheckpointRefused } from './errors.ts';
import type { StoreFile, StoreIo } from './io.ts';

/** Bytes that are hashed at a time, and what readers and writers of images move at a time. Part of the format: another size is another hash. */
export const CHUNK_BYTES = 4 * 1024 * 1024;

/**
 * The name of an image's content: `sha256-4m:` and the sha256 of the sha256 of each 4 MiB chunk in order, followed by the length (64 bits, big endian).
 * Chunks make it possible to hash a file that is still being written, and whose first bytes are rewritten at the end.
 */
export type ImageHash = `sha256-4m:${string}`;

export interface HashedFile {
  readonly bytes: number;
  readonly hash: ImageHash;
}

export interface LongRun {
  readonly signal?: AbortSignal;
  /** Told after each chunk how many bytes are done. */
  readonly progress?: (doneBytes: number) => void;
}

/**
 * The sha256 of a chunk, computed in Node's thread pool: 1.3 GB/s where the CPU has SHA instructions, against 1.6 on the main thread, which then stays free for the
 * jobs' streams. A worker thread of our own
 * measured the same (docs/checkpoints.md).
 */
export async function hashChunk(chunk: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await webcrypto.subtle.digest('SHA-256', chunk));
}

/** Joins the hashes of all chunks of a file of `bytes` bytes. */
export function joinHashes(chunks: readonly Uint8Array[], bytes: number): ImageHash {
  const expected = Math.ceil(bytes / CHUNK_BYTES);
  if (chunks.length !== expected)
    throw new RangeError(`${bytes} bytes have ${expected} chunks, not ${chunks.length}`);
  const whole = createHash('sha256');
  for (const chunk of chunks) whole.update(chunk);
  const length = Buffer.alloc(8);
  length.writeBigUInt64BE(BigInt(bytes));
  return `sha256-4m:${whole.update(length).digest('hex')}`;
}

/** Throws CheckpointRefused unless a file is, byte for byte, what was saved. */
export function demandSame(path: string, found: HashedFile, saved: HashedFile): void {
  if (found.bytes !== saved.bytes || found.hash !== saved.hash)
    throw new CheckpointRefused(
      `${path}: expected ${saved.bytes} bytes with ${saved.hash}, it has ${found.bytes} with ${found.hash}: damaged`,
    );
}

/** Hashes a file that nobody writes to any more; reads the next chunk while one is hashed. Holds two chunks in memory. */
export async function hashFile(io: StoreIo, path: string, run: LongRun = {}): Promise<HashedFile> {
  const file = await io.open(path, 'read');
  try {
    const hashes: Uint8Array[] = [];
    let bytes = 0;
    const { bytes: length } = await io.stat(path);
    for await (const chunk of chunksOf(file, length, run.signal)) {
      hashes.push(await hashChunk(chunk));
      bytes += chunk.length;
      run.progress?.(bytes);
    }
    return { bytes, hash: joinHashes(hashes, bytes) };
  } finally {
    await file.close();
  }
}

/**
 * The chunks of a file of `bytes` bytes in order; each is valid until `buffers` - 1 more have been asked for: so many chunks are in memory. The last one may be short.
 * Throws CheckpointRefused when a short file becomes longer meanwhile.
 */
export async function* chunksOf(
  file: StoreFile,
  bytes: number,
  signal?: AbortSignal,
  buffers = 2,
): AsyncGenerator<Uint8Array> {
  // One byte more than a short file needs, to see its end.
  const bufferBytes = Math.min(CHUNK_BYTES, bytes + 1);
  const ring: Buffer[] = [];
  const readAt = async (index: number) => {
    const buffer = ring[index % buffers] ?? Buffer.allocUnsafeSlow(bufferBytes);
    ring[index % buffers] = buffer;
    const chunk = buffer.subarray(0, await file.read(buffer, index * CHUNK_BYTES));
    if (chunk.length > bytes) throw new CheckpointRefused(`a file of ${bytes} bytes grew while it was read`);
    return chunk;
  };
  const ahead = (index: number) => {
    const chunk = readAt(index);
    // It is awaited a turn later: a failure until then has a hearer.
    chunk.catch(() => undefined);
    return chunk;
  };
  let next = ahead(0);
  try {
    for (let index = 0; ; index++) {
      signal?.throwIfAborted();
      const chunk = await next;
      if (chunk.length === 0) return;
      const last = chunk.length < CHUNK_BYTES;
      if (!last) next = ahead(index + 1);
      yield chunk;
      if (last) return;
    }
  } finally {
    // A reader that leaves early must not close the file below a read.
    await next.catch(() => undefined);
  }
}
