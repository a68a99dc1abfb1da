import { CaddisError } from '../model/errors.ts';
import { formatBytes } from '../model/units.ts';

/** The store does not answer, or answers that it cannot be used now. Nothing is known about what was asked last: it may still come to pass. */
export class StoreUnavailable extends CaddisError {
  override name = 'StoreUnavailable';
  readonly path: string;
  constructor(path: string, what: string, cause?: unknown) {
    super(
      `checkpoint store: ${path}: ${what}; see that the file system is mounted, its server answers and root may write there`,
      { cause },
    );
    this.path = path;
  }
}

export function isStoreUnavailable(error: unknown): error is StoreUnavailable {
  return error instanceof StoreUnavailable;
}

/** No room for a checkpoint. Nothing that was saved before is touched by it. */
export class StoreFull extends CaddisError {
  override name = 'StoreFull';
}

export function isStoreFull(error: unknown): error is StoreFull {
  return error instanceof StoreFull;
}

/** What a checkpoint is expected to take does not fit below the site's quota. */
export function overQuota(dir: string, bytes: { used: number; wanted: number; quota: number }): StoreFull {
  return new StoreFull(
    `checkpoint store ${dir}: ${formatBytes(bytes.used)} used and ${formatBytes(bytes.wanted)} wanted exceed checkpoint.quota of ${formatBytes(bytes.quota)}; remove some ("caddis checkpoints list") or raise the quota`,
  );
}

/** What a checkpoint is expected to take does not fit into the file system. */
export function noSpace(dir: string, bytes: { free: number; wanted: number }): StoreFull {
  return new StoreFull(
    `checkpoint store ${dir}: ${formatBytes(bytes.free)} free, ${formatBytes(bytes.wanted)} wanted; remove some ("caddis checkpoints list") or make room`,
  );
}

/** A checkpoint that must not be restored: torn, damaged, of another job, or not for this node. */
export class CheckpointRefused extends CaddisError {
  override name = 'CheckpointRefused';
}

export function isCheckpointRefused(error: unknown): error is CheckpointRefused {
  return error instanceof CheckpointRefused;
}

/** Another holds the job, or a writer was overtaken by a later one: whoever gets this must end its copy of the machine. */
export class ClaimLost extends CaddisError {
  override name = 'ClaimLost';
}

export function isClaimLost(error: unknown): error is ClaimLost {
  return error instanceof ClaimLost;
}

/** The code of a failed system call; undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}
