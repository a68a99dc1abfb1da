import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

import type { CurrentClaim, Parked } from '../../checkpoint/claim-file.ts';
import { type Claim, Claims } from '../../checkpoint/claims.ts';
import { ClaimLost, isCheckpointRefused, isClaimLost } from '../../checkpoint/errors.ts';
import { Heartbeat } from '../../checkpoint/heartbeat.ts';
import type { StoreIo } from '../../checkpoint/io.ts';
import { nodesDirectory } from '../../checkpoint/layout.ts';
import { mayTakeOver, type TakeOver } from '../../checkpoint/may-take-over.ts';
import { NodeWatch } from '../../checkpoint/node-watch.ts';
import { messageOf, NodeUnfit } from '../../model/errors.ts';
import { formatKey, type JobKey } from '../../model/job.ts';
import type { Job } from '../job.ts';
import type { Log } from '../log.ts';

/** Beyond the lease: a guest whose lease is over freezes itself within its own turn, a second under load. */
const MARGIN_MS = 5_000;
/** Links to guests are up within milliseconds. */
const RENEW_AFTER_MS = 300;
/** How often a claim that another node has is looked at. */
const LOOK_EVERY_MS = 1_000;

/** Where a job is, as its claim says. */
export interface Whereabouts {
  readonly epoch: number;
  readonly host: string;
  /** How its machine was made, once the job goes on under this claim. */
  readonly goesOn: string | undefined;
}

/** A machine that the holder before us has left standing. */
export interface ParkedElsewhere extends Parked {
  readonly host: string;
}

export interface CustodyOptions {
  readonly io: StoreIo;
  /** Directory of the store. */
  readonly store: string;
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly log: Log;
  /** Another node has the job now: this copy of it must not run on. */
  readonly overtaken: (job: Job) => void;
}

/**
 * Which jobs this node holds, as all nodes see it: a claim in the store for each, and one heartbeat for all of them. A machine runs on only while its claim counts and the
 * heartbeat is written: its guest has a lease that is renewed with each beat, and freezes the job by itself when that is over. So whoever waits for the lease of a silent
 * node before it goes on with a job never runs it beside the older copy.
 */
export class Custody {
  readonly #options: CustodyOptions;
  readonly #claims: Claims;
  readonly #heartbeat: Heartbeat;
  readonly #watch: NodeWatch;
  readonly #held = new Map<Job, Claim>();
  /** Of parked machines: the next holder may have overtaken them. */
  readonly #parked = new Map<Job, Claim>();
  /** This node, in claims and drafts. */
  readonly self = { host: hostname(), bootId: bootId() };
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: CustodyOptions) {
    const { io, store, leaseMs } = options;
    this.#options = options;
    this.#claims = new Claims(io, store);
    this.#heartbeat = new Heartbeat(io, store, this.self);
    this.#watch = new NodeWatch(io, store, { leaseMs });
  }

  /** Gives the first sign of life. Throws StoreUnavailable. */
  async start(): Promise<void> {
    await this.#heartbeat.beat();
    this.#schedule();
  }

  /** Gives the guests of machines that were taken over their lease without waiting for the next beat. */
  renewSoon(): void {
    setTimeout(() => void this.#beat(), RENEW_AFTER_MS).unref();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Epoch of this node's claim; 0 without one. */
  epochOf(job: Job): number {
    return this.#held.get(job)?.epoch ?? 0;
  }

  /**
   * Resolves when the node that has a job has let go of it, or has been silent for longer than its lease. Throws NodeUnfit with the reason when that is not so within `waitMs`:
   * the job goes back to the queue.
   */
  async untilFree(key: JobKey, waitMs: number, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + waitMs;
    for (;;) {
      signal.throwIfAborted();
      const { verdict } = await this.#look(key);
      if (verdict.allowed) return;
      const pauseMs = Math.min(verdict.waitMs, LOOK_EVERY_MS);
      if (performance.now() + pauseMs > deadline)
        throw new NodeUnfit(`another copy of this job is not known to be gone: ${verdict.why}`, {
          wholeNode: false,
        });
      await sleep(pauseMs, undefined, { signal });
    }
  }

  /** Claims a job that is free. Gives what its holder before has left standing on another node. Throws NodeUnfit when another node was quicker. */
  async take(job: Job): Promise<ParkedElsewhere | undefined> {
    const { verdict, claim } = await this.#look(job.key);
    if (!verdict.allowed) throw new NodeUnfit(verdict.why, { wholeNode: false });
    await this.#acquire(job, claim?.epoch ?? 0).catch((error: unknown) => {
      throw isClaimLost(error) ? new NodeUnfit(messageOf(error), { wholeNode: false, cause: error }) : error;
    });
    if (!claim?.parked || claim.holder.host === this.self.host) return undefined;
    return { ...claim.parked, host: claim.holder.host };
  }

  /**
   * A machine that ran before this caddisd did: its claim is this node's already, unless another node has overtaken it (`lost`). A `parked` one must not run again under
   * that claim, and is in the store.
   */
  async adopt(job: Job): Promise<'ours' | 'lost' | 'parked'> {
    try {
      await this.#acquire(job, -1);
    } catch (error) {
      if (isClaimLost(error)) return 'lost';
      throw error;
    }
    return (await this.#claims.current(job.key))?.parked === undefined ? 'ours' : 'parked';
  }

  /** From here on the job is free for whoever comes next, here or elsewhere. Throws ClaimLost, StoreUnavailable. */
  async park(job: Job, parked: Parked): Promise<void> {
    const claim = this.#held.get(job);
    if (!claim) throw new ClaimLost(`${formatKey(job.key)}: this node does not hold this job`);
    // No lease is renewed any more, and who overtakes it does what he was invited to.
    this.#held.delete(job);
    this.#parked.set(job, claim);
    await this.#claims.park(claim, parked);
  }

  /** Whether nobody has come yet for a parked machine. Throws StoreUnavailable. */
  async isStillParked(job: Job): Promise<boolean> {
    const claim = this.#parked.get(job);
    return claim !== undefined && (await this.#claims.current(job.key))?.nonce === claim.nonce;
  }

  /** Another incarnation here goes on with the machine. */
  forget(job: Job): void {
    this.#held.delete(job);
    this.#parked.delete(job);
  }

  /** Tells those who wait for a job that it goes on here. */
  async goesOn(job: Job): Promise<void> {
    const claim = this.#held.get(job);
    if (claim) await this.#claims.goesOn(claim, { how: job.bootPath });
  }

  /** Undefined when nobody has claimed the job. Throws StoreUnavailable. */
  async whereabouts(key: JobKey): Promise<Whereabouts | undefined> {
    const claim = await this.#claims.current(key);
    if (!claim) return undefined;
    const { epoch, holder } = claim;
    return { epoch, host: holder.host, goesOn: (await this.#claims.whetherGoesOn(key, epoch))?.how };
  }

  /** Whether this node was the last that ran the job, or nobody was. Throws StoreUnavailable. */
  async wasLastHere(key: JobKey): Promise<boolean> {
    const claim = await this.#claims.current(key);
    return claim === undefined || claim.holder.host === this.self.host;
  }

  /** Hosts whose heartbeat moves. Takes a beat and a half. Throws StoreUnavailable. */
  async hostsThatBeat(): Promise<ReadonlySet<string>> {
    const { io, store, heartbeatMs } = this.#options;
    const hosts = (await io.readdir(nodesDirectory(store))).filter((name) => !name.startsWith('.'));
    for (const host of hosts) await this.#watch.observe(host);
    await sleep(1.5 * heartbeatMs, undefined, { ref: false });
    const beating = new Set<string>();
    for (const host of hosts) if ((await this.#watch.observe(host)).kind === 'alive') beating.add(host);
    return beating;
  }

  /** Throws ClaimLost when another node has the job by now, StoreUnavailable when that is not certain. */
  async confirm(job: Job): Promise<void> {
    const claim = this.#held.get(job);
    if (!claim || !(await this.#claims.isMine(claim)))
      throw new ClaimLost(`${formatKey(job.key)}: another node has claimed this job`);
  }

  /** Lets the next have the job at once. Never throws: a claim that cannot be released now is overtaken after the lease. */
  async release(job: Job): Promise<void> {
    const claim = this.#held.get(job) ?? this.#parked.get(job);
    this.forget(job);
    if (claim)
      await this.#claims
        .release(claim)
        .catch((error: unknown) => job.log.warn(`the claim could not be released: ${messageOf(error)}`));
  }

  /** Lets go of claims of this node whose machines it no longer has: when they ended, caddisd died or the store was away. Nobody else may overtake them while this node is alive. */
  async releaseForgotten(keys: readonly JobKey[], isHere: (machine: string) => boolean): Promise<void> {
    for (const key of keys) {
      const current = await this.#claims.current(key);
      if (!current || current.released || current.holder.host !== this.self.host) continue;
      if (isHere(current.holder.machine)) continue;
      const { epoch, holder, nonce } = current;
      await this.#claims.release({ key, epoch, holder, nonce });
      this.#options.log.info(`${formatKey(key)}: let go of the claim of ${holder.machine}, which is gone`);
    }
  }

  async #look(key: JobKey): Promise<{ verdict: TakeOver; claim: CurrentClaim | undefined }> {
    const claim = await this.#claims.current(key);
    const elsewhere = claim !== undefined && claim.holder.host !== this.self.host;
    const verdict = mayTakeOver({
      claim,
      self: this.self,
      machineIsHere: [...this.#held.values()].some(({ nonce }) => nonce === claim?.nonce),
      node: elsewhere ? await this.#watch.observe(claim.holder.host) : undefined,
      leaseMs: this.#options.leaseMs,
      marginMs: MARGIN_MS,
    });
    return { verdict, claim };
  }

  async #acquire(job: Job, after: number): Promise<void> {
    const holder = { ...this.self, machine: job.machine, incarnation: job.facts.incarnation };
    const claim = await this.#claims.acquire(job.key, holder, after);
    // An attempt to take the machine over that failed had it under another Job: nothing is to be done in that one's name when the claim is lost.
    for (const [other, { nonce }] of this.#held) if (nonce === claim.nonce) this.#held.delete(other);
    this.#held.set(job, claim);
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(async () => {
      await this.#beat();
      this.#schedule();
    }, this.#options.heartbeatMs);
  }

  /** One sign of life, and with it a new lease for the guests whose claims still count. Without it they freeze when theirs is over. */
  async #beat(): Promise<void> {
    try {
      await this.#heartbeat.beat();
      for (const [job, claim] of this.#held)
        await this.#renew(job, claim).catch((error: unknown) => {
          // A damaged claim is no reason to freeze the jobs of the others; a store that is away keeps none waiting in turn.
          if (!isCheckpointRefused(error)) throw error;
          job.log.warn(`its lease is not renewed: ${messageOf(error)}`);
        });
    } catch (error) {
      this.#options.log.warn(`no sign of life could be given in the store: ${messageOf(error)}`);
    }
  }

  async #renew(job: Job, claim: Claim): Promise<void> {
    const current = await this.#claims.current(job.key);
    // Let go of meanwhile.
    if (this.#held.get(job) !== claim) return;
    if (current?.nonce === claim.nonce) job.resources.guest?.lease(this.#options.leaseMs);
    else {
      this.#held.delete(job);
      this.#options.overtaken(job);
    }
  }
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
