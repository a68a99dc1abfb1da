import { setTimeout as sleep } from 'node:timers/promises';

import { CHUNK_BYTES, chunksOf, type HashedFile, hashChunk, joinHashes, type LongRun } from './hash.ts';
import type { StoreIo } from './io.ts';

interface CopyOptions extends LongRun {
  /** At most so many bytes a second, so that a copy in the background leaves the jobs their disk and network. Unset: as fast as it goes. */
  readonly bytesPerSecond?: number;
}

/**
 * Copies a staged image into a draft and hashes it on the way. Not synced: publishing does that. A copy that fails leaves a part of `to` behind, which goes with
 * its draft. Throws what reading and writing throw, or the signal's reason.
 */
export async function copyImage(
  io: StoreIo,
  from: string,
  to: string,
  { signal, progress, bytesPerSecond }: CopyOptions = {},
): Promise<HashedFile> {
  const source = await io.open(from, 'read');
  try {
    const target = await io.open(to, 'create');
    try {
      const begun = performance.now();
      const hashes: Uint8Array[] = [];
      const { bytes: length } = await io.stat(from);
      let bytes = 0;
      for await (const chunk of chunksOf(source, length, signal)) {
        const [hash] = await Promise.all([
          hashChunk(chunk),
          target.write(chunk, hashes.length * CHUNK_BYTES),
        ]);
        hashes.push(hash);
        bytes += chunk.length;
        progress?.(bytes);
        const early = bytesPerSecond ? (bytes / bytesPerSecond) * 1000 - (performance.now() - begun) : 0;
        if (early > 1) await sleep(early, undefined, signal ? { signal } : {});
      }
      return { bytes, hash: joinHashes(hashes, bytes) };
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}
