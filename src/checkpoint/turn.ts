import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import { lastWritten, storeNow } from './expire.ts';
import type { StoreIo } from './io.ts';

const MARK = '.tidied';

/**
 * Whether it is this node's turn to look after the whole store: nobody has for `everyMs`, by the file server's clock. There is no leader; whoever asks first does it. Two that
 * ask within a moment both do, which costs time and does no harm.
 */
export async function takeTurn(io: StoreIo, store: string, everyMs: number): Promise<boolean> {
  const mark = join(store, MARK);
  const now = await storeNow(io, store);
  const last = await lastWritten(io, [mark]);
  if (last > 0 && now - last < everyMs) return false;
  // A name that a sweep removes, should this be cut off.
  const fresh = join(store, `.probe-${randomBytes(6).toString('hex')}`);
  await io.create(fresh, new Uint8Array());
  await io.rename(fresh, mark);
  return true;
}
