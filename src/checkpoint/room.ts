import { noSpace, overQuota } from './errors.ts';
import type { StoreIo } from './io.ts';
import { jobsDirectory } from './layout.ts';
import { treeBytes } from './tree.ts';

/** Throws StoreFull when `wantedBytes` fit neither into the file system nor below the quota (0 = none), which counts everything below `jobs`. */
export async function demandRoom(
  io: StoreIo,
  store: string,
  { wantedBytes, quotaBytes }: { readonly wantedBytes: number; readonly quotaBytes: number },
): Promise<void> {
  const { freeBytes } = await io.space(store);
  if (freeBytes < wantedBytes) throw noSpace(store, { free: freeBytes, wanted: wantedBytes });
  if (quotaBytes === 0) return;
  const used = await treeBytes(io, jobsDirectory(store));
  if (used + wantedBytes > quotaBytes)
    throw overQuota(store, { used, wanted: wantedBytes, quota: quotaBytes });
}
