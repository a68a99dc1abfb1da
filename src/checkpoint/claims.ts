import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import { formatKey, type JobKey } from '../model/job.ts';
import {
  type ClaimHolder,
  type CurrentClaim,
  claimBytes,
  epochsIn,
  type GoesOn,
  goesOnName,
  marksOf,
  type Parked,
  parkedName,
  readCurrent,
  readGoesOn,
  releaseName,
} from './claim-file.ts';
import { ClaimLost } from './errors.ts';
import type { StoreIo } from './io.ts';
import { jobPlaces, jobsDirectory } from './layout.ts';
import { demandDirectory, ensureDirectory, freshen, unless } from './tree.ts';

/** The right to run a job, as long as no higher epoch is there. */
export interface Claim {
  readonly key: JobKey;
  readonly epoch: number;
  readonly holder: ClaimHolder;
  readonly nonce: string;
}

/**
 * Who runs a job: files `claims/<epoch>`, each made once, in one step, by one holder. The highest epoch counts. Epochs only rise while the store has anything of the
 * job. Whether a claim of another may be overtaken is mayTakeOver's to say; here only one of those who try succeeds.
 */
export class Claims {
  readonly #io: StoreIo;
  readonly #store: string;

  /** `store`: as of a CheckpointStore, which must have been prepared. */
  constructor(io: StoreIo, store: string) {
    this.#io = io;
    this.#store = store;
  }

  /** The claim that counts; undefined when nobody has claimed the job. Throws CheckpointRefused when it cannot be understood. */
  async current(key: JobKey): Promise<CurrentClaim | undefined> {
    await this.#demandStore();
    return readCurrent(this.#io, jobPlaces(this.#store, key).claims);
  }

  /**
   * Claims the job in the epoch that follows `after`: the one that was current when it was decided that it may be overtaken, 0 when there was none.
   * A holder that has the job already (it died before it knew) gets that claim again. Throws ClaimLost when another was quicker.
   */
  async acquire(key: JobKey, holder: ClaimHolder, after: number): Promise<Claim> {
    await this.#demandStore();
    const { job, claims } = jobPlaces(this.#store, key);
    await ensureDirectory(this.#io, job);
    await ensureDirectory(this.#io, claims);
    const current = await this.current(key);
    if (current && !current.released && isSame(current.holder, holder)) {
      await this.#io.syncDirectory(claims);
      return { key, epoch: current.epoch, holder, nonce: current.nonce };
    }
    if ((current?.epoch ?? 0) !== after) throw lost(key, after, current);
    const claim = { key, epoch: after + 1, holder, nonce: randomBytes(8).toString('hex') };
    await this.#make(claims, claim);
    const winner = await this.current(key);
    if (winner?.nonce !== claim.nonce) throw lost(key, after, winner);
    await this.#removeBelow(claims, claim.epoch);
    return claim;
  }

  /** Says that this node runs the job no longer: the next may have it at once. A claim that was lost meanwhile is nobody's to release. */
  async release(claim: Claim): Promise<void> {
    if (!(await this.isMine(claim))) return;
    const { claims } = jobPlaces(this.#store, claim.key);
    await this.#io
      .create(join(claims, releaseName(claim.epoch)), new Uint8Array())
      .catch(unless('EEXIST', 'ENOENT'));
    await this.#io.syncDirectory(claims).catch(unless('ENOENT'));
  }

  /**
   * Says that the job is saved and does not go on under this claim: whoever comes next may have it at once, and find its machine here for a while. Throws ClaimLost when
   * somebody has come already.
   */
  async park(claim: Claim, parked: Parked): Promise<void> {
    await this.#mark(claim, parkedName(claim.epoch), parked);
  }

  /** Says that the job goes on under this claim: for those who wait for it. Throws ClaimLost. */
  async goesOn(claim: Claim, how: GoesOn): Promise<void> {
    await this.#mark(claim, goesOnName(claim.epoch), how);
  }

  /** What the holder of an epoch has said by `goesOn`. */
  whetherGoesOn(key: JobKey, epoch: number): Promise<GoesOn | undefined> {
    return readGoesOn(this.#io, jobPlaces(this.#store, key).claims, epoch);
  }

  /** Whether the claim still counts, by the file server's own listing. */
  async isMine(claim: Claim): Promise<boolean> {
    await this.#demandStore();
    if (!(await freshen(this.#io, jobPlaces(this.#store, claim.key).claims))) return false;
    const current = await this.current(claim.key);
    return current?.nonce === claim.nonce && !current.released;
  }

  #demandStore(): Promise<void> {
    return demandDirectory(this.#io, jobsDirectory(this.#store));
  }

  /** Makes the claim's file with all that is in it, or leaves the one that is there. It is durable when this returns, whoever's it is. */
  async #make(claims: string, { epoch, holder, nonce }: Claim): Promise<void> {
    const unique = join(claims, `.claim-${nonce}`);
    await this.#io.create(unique, claimBytes(holder, nonce));
    try {
      await this.#io.syncFile(unique);
      // NFS may repeat a call that succeeded and answer EEXIST: what stands there decides.
      await this.#io.link(unique, join(claims, String(epoch))).catch(unless('EEXIST'));
      await this.#io.syncDirectory(claims);
    } finally {
      await this.#io.unlink(unique).catch(() => undefined);
    }
  }

  /** A reader sees the whole mark or none. Not synced: a crash of the node takes with it what the mark speaks of. */
  async #mark(claim: Claim, name: string, content: object): Promise<void> {
    if (!(await this.isMine(claim))) throw lost(claim.key, claim.epoch, await this.current(claim.key));
    const { claims } = jobPlaces(this.#store, claim.key);
    const unique = join(claims, `.mark-${randomBytes(6).toString('hex')}`);
    await this.#io.create(unique, Buffer.from(`${JSON.stringify(content)}\n`));
    await this.#io.rename(unique, join(claims, name));
  }

  /** Old epochs say nothing any more. A slow one that makes a file below this epoch again sees this one when it reads back. */
  async #removeBelow(claims: string, epoch: number): Promise<void> {
    for (const old of await epochsIn(this.#io, claims)) {
      if (old >= epoch) continue;
      for (const name of [String(old), ...marksOf(old)])
        await this.#io.unlink(join(claims, name)).catch(unless('ENOENT'));
    }
  }
}

function isSame(a: ClaimHolder, b: ClaimHolder): boolean {
  return (
    a.host === b.host && a.machine === b.machine && a.incarnation === b.incarnation && a.bootId === b.bootId
  );
}

function lost(key: JobKey, after: number, current: CurrentClaim | undefined): ClaimLost {
  const now = current
    ? `${current.holder.host} holds epoch ${current.epoch} (machine ${current.holder.machine})`
    : 'there is none';
  return new ClaimLost(`claim of ${formatKey(key)}: expected epoch ${after} to be the last, ${now}`);
}
