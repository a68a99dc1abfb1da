import { HashFollower } from './follow.ts';
import { demandSame, type HashedFile, hashFile, type LongRun } from './hash.ts';
import type { StoreIo } from './io.ts';

/** A staging disk in memory takes some hundred MB a second. */
const POLL_MS = 25;

/**
 * Copies an image into a draft while `write` writes it to `from`, a staging place of this node, so that the store has most of it when `write` resolves. Then it is looked
 * at once more, while the store syncs it: a writer that has changed what was copied makes this throw CheckpointRefused. A copy that fails leaves a part of `to` behind,
 * which goes with its draft. Throws what writing, reading and copying throw, or the signal's reason.
 */
export async function copyWhileWritten(
  io: StoreIo,
  from: string,
  to: string,
  write: () => Promise<void>,
  { signal, progress }: LongRun = {},
): Promise<HashedFile> {
  const follower = new HashFollower(io, from, {
    copyTo: to,
    pollMs: POLL_MS,
    ...(signal ? { signal } : {}),
    ...(progress ? { progress } : {}),
  });
  try {
    await write();
  } catch (error) {
    await follower.abandon();
    throw error;
  }
  const copied = await follower.finish();
  const [whole] = await Promise.all([hashFile(io, from, signal ? { signal } : {}), io.syncFile(to)]);
  demandSame(from, copied, whole);
  return whole;
}
