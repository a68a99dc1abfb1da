import { copyImage } from './copy.ts';
import { HashFollower } from './follow.ts';
import { type HashedFile, hashFile, type LongRun } from './hash.ts';
import type { StoreIo } from './io.ts';

/** A staging disk in memory takes some hundred MB a second. */
const POLL_MS = 25;

interface Staging {
  readonly from: string;
  readonly to: string;
  /** Makes `from`, front to back, and its beginning last. */
  readonly write: () => Promise<void>;
  /** Asked when it is written: whether it is known to have been written so. */
  readonly isStream: () => Promise<boolean>;
  readonly say: (text: string) => void;
}

/**
 * Copies an image into a draft while it is written to a staging place of this node, so that the store has most of it when `write` resolves. One that is not known to be a stream is looked at
 * once more, while the store syncs it: of a writer that has changed what was copied, a copy is made anew. A copy that fails leaves a part of `to` behind, which goes with its draft.
 * Throws what writing, reading and copying throw, or the signal's reason.
 */
export async function copyWhileWritten(
  io: StoreIo,
  { from, to, write, isStream, say }: Staging,
  run: LongRun = {},
): Promise<HashedFile> {
  const follower = new HashFollower(io, from, { ...run, copyTo: to, pollMs: POLL_MS });
  try {
    await write();
  } catch (error) {
    await follower.abandon();
    throw error;
  }
  const copied = await follower.finish();
  if (await isStream()) return copied;
  const { signal } = run;
  const [whole] = await Promise.all([hashFile(io, from, signal ? { signal } : {}), io.syncFile(to)]);
  if (whole.hash === copied.hash) return whole;
  say(`${from} was not written from front to back: it is copied once more`);
  await io.unlink(to);
  return copyImage(io, from, to, run);
}
