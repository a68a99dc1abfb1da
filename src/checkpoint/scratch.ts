import { CheckpointRefused } from './errors.ts';
import { type Extent, packedBytes } from './extents.ts';
import { CHUNK_BYTES, chunksOf, hashChunk, joinHashes, type LongRun } from './hash.ts';
import type { StoreFile, StoreIo } from './io.ts';
import type { ScratchImage } from './manifest-schema.ts';
import { unless } from './tree.ts';

/**
 * Packs what a sparse raw image holds into `to`, one extent after another, and hashes it on the way. Not synced: publishing does that. Holds two chunks in memory.
 * `extents` from mapExtents; the image must not be written to meanwhile. Throws what reading and writing throw, or the signal's reason.
 */
export async function packScratch(
  io: StoreIo,
  from: string,
  to: string,
  extents: readonly Extent[],
  { signal, progress }: LongRun = {},
): Promise<ScratchImage> {
  const source = await io.open(from, 'read');
  try {
    const target = await io.open(to, 'create');
    try {
      const total = packedBytes(extents);
      const hashes: Uint8Array[] = [];
      for (let at = 0; at < total; at += CHUNK_BYTES) {
        signal?.throwIfAborted();
        const chunk = new Uint8Array(Math.min(CHUNK_BYTES, total - at));
        for (const piece of piecesOf(extents, at, chunk.length))
          await readExactly(
            source,
            from,
            chunk.subarray(piece.packed - at, piece.packed - at + piece.length),
            piece.disk,
          );
        const [hash] = await Promise.all([hashChunk(chunk), target.write(chunk, at)]);
        hashes.push(hash);
        progress?.(at + chunk.length);
      }
      const { bytes } = await io.stat(from);
      return {
        bytes,
        extents: extents.map(([offset, length]) => [offset, length]),
        packedBytes: total,
        hash: joinHashes(hashes, total),
      };
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

interface UnpackOptions extends LongRun {
  /** Who QEMU runs as. */
  readonly owner: { readonly uid: number; readonly gid: number };
}

/**
 * Makes the sparse disk `to` from a packed one. It has its name only once every byte was written and the hash was the one of the manifest; until then it is
 * `to.part`, and a part that an earlier try left is replaced. Not synced: a node that crashes has no machine that would need it.
 * Throws CheckpointRefused when the packed file is not what the manifest says.
 */
export async function unpackScratch(
  io: StoreIo,
  from: string,
  to: string,
  image: ScratchImage,
  { signal, progress, owner }: UnpackOptions,
): Promise<void> {
  const part = `${to}.part`;
  await io.unlink(part).catch(unless('ENOENT'));
  try {
    const target = await io.open(part, 'create');
    try {
      await target.truncate(image.bytes);
      await fill(io, from, target, image, {
        ...(signal ? { signal } : {}),
        ...(progress ? { progress } : {}),
      });
      await target.chown(owner.uid, owner.gid);
    } finally {
      await target.close();
    }
    await io.rename(part, to);
  } catch (error) {
    await io.unlink(part).catch(() => undefined);
    throw error;
  }
}

async function fill(
  io: StoreIo,
  from: string,
  target: StoreFile,
  image: ScratchImage,
  { signal, progress }: LongRun,
): Promise<void> {
  const source = await io.open(from, 'read');
  try {
    const { bytes: length } = await io.stat(from);
    const hashes: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of chunksOf(source, length, signal)) {
      if (bytes + chunk.length > image.packedBytes) throw refused(from, 'is longer', image);
      const write = async () => {
        for (const piece of piecesOf(image.extents, bytes, chunk.length))
          await target.write(
            chunk.subarray(piece.packed - bytes, piece.packed - bytes + piece.length),
            piece.disk,
          );
      };
      const [hash] = await Promise.all([hashChunk(chunk), write()]);
      hashes.push(hash);
      bytes += chunk.length;
      progress?.(bytes);
    }
    if (bytes !== image.packedBytes) throw refused(from, `ends at ${bytes}`, image);
    const hash = joinHashes(hashes, bytes);
    if (hash !== image.hash) throw refused(from, `has ${hash}`, image);
  } finally {
    await source.close();
  }
}

function refused(path: string, found: string, image: ScratchImage): CheckpointRefused {
  return new CheckpointRefused(
    `${path}: expected ${image.packedBytes} bytes with ${image.hash}, it ${found}: damaged`,
  );
}

/** The pieces of the disk that lie in `length` bytes at `at` of the packed file. */
function* piecesOf(
  extents: readonly Extent[],
  at: number,
  length: number,
): Generator<{ packed: number; disk: number; length: number }> {
  let packed = 0;
  for (const [offset, extentBytes] of extents) {
    const begin = Math.max(packed, at);
    const end = Math.min(packed + extentBytes, at + length);
    if (begin < end) yield { packed: begin, disk: offset + begin - packed, length: end - begin };
    packed += extentBytes;
    if (packed >= at + length) return;
  }
}

async function readExactly(file: StoreFile, path: string, into: Uint8Array, position: number): Promise<void> {
  const got = await file.read(into, position);
  if (got < into.length)
    throw new CheckpointRefused(`${path}: ends at ${position + got} while it was packed`);
}
