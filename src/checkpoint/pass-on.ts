import { once } from 'node:events';
import { constants, open } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { promisify } from 'node:util';

import { execa } from 'execa';

import { CHUNK_BYTES, chunksOf, type HashedFile, hashChunk, joinHashes, type LongRun } from './hash.ts';
import type { StoreIo } from './io.ts';

/** A named pipe of which this process holds both ends open: who opens it for reading is never kept waiting, also when this process dies. */
export interface ImagePipe {
  readonly path: string;
  readonly writer: Socket;
  /** Closes and removes it. Never rejects. */
  close(): Promise<void>;
}

/** Makes a named pipe for root alone; one that is there is replaced. */
export async function makePipe(path: string): Promise<ImagePipe> {
  await rm(path, { force: true });
  await execa('mkfifo', ['-m', '600', '--', path], { stdin: 'ignore', timeout: 10_000 });
  const fd = await promisify(open)(path, constants.O_RDWR | constants.O_NONBLOCK);
  // A thread of the pool would be lost to a reader that stops.
  const writer = new Socket({ fd, readable: false, writable: true });
  // Whoever writes hears of it by `close`.
  writer.on('error', () => undefined);
  return {
    path,
    writer,
    close: async () => {
      writer.destroy();
      await rm(path, { force: true }).catch(() => undefined);
    },
  };
}

interface PassOnOptions extends LongRun {
  /** Aborted when nobody reads any more: the rest is hashed all the same, since it says whose fault that was. */
  readonly gone: AbortSignal;
  /** Told when the reader has taken the first chunk. */
  readonly begun?: () => void;
}

/**
 * What is read and hashed while the reader is not ready for it yet, 32 MiB: QEMU takes a quarter of a second to start before it reads, and stops in between.
 */
const CHUNKS_AHEAD = 8;

/**
 * Passes a file on to the reader of a pipe and hashes it on the way: it is read once, and what was read is what was hashed. `passed`: the bytes that the reader could have had.
 * Holds CHUNKS_AHEAD + 2 chunks in memory. Throws what reading throws, or the signal's reason.
 */
export async function passOn(
  io: StoreIo,
  from: string,
  { writer }: ImagePipe,
  { signal, progress, gone, begun }: PassOnOptions,
): Promise<HashedFile & { readonly passed: number }> {
  const source = await io.open(from, 'read');
  const over = new AbortController();
  const left = Promise.race([
    once(writer, 'close', { signal: over.signal }),
    once(gone, 'abort', { signal: over.signal }),
  ]).catch(() => undefined);
  const nobodyReads = () => gone.aborted || writer.destroyed;
  try {
    const { bytes: length } = await io.stat(from);
    const hashes: Uint8Array[] = [];
    const written: Promise<void>[] = [];
    let bytes = 0;
    let passed = 0;
    const write = async (chunk: Uint8Array): Promise<void> => {
      if (nobodyReads()) return;
      await Promise.race([new Promise((done) => writer.write(chunk, done)), left]);
      if (nobodyReads()) return;
      if (passed === 0) begun?.();
      passed += chunk.length;
    };
    for await (const chunk of chunksOf(source, length, signal, CHUNKS_AHEAD + 2)) {
      written.push(write(chunk));
      hashes.push(await hashChunk(chunk));
      bytes += chunk.length;
      progress?.(bytes);
      // Its buffer is read into anew when the next chunk is asked for.
      await written[written.length - 1 - CHUNKS_AHEAD];
    }
    await Promise.all(written);
    signal?.throwIfAborted();
    return { bytes, hash: joinHashes(hashes, bytes), passed };
  } finally {
    over.abort();
    await source.close();
  }
}

/** Less than this may wait in a pipe whose reader has not come yet: the writer's end must stay open for it. */
export const PIPE_MAX_BYTES = CHUNK_BYTES;
