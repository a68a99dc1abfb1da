import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

import { type Claim, Claims } from '../checkpoint/claims.ts';
import { isClaimLost } from '../checkpoint/errors.ts';
import { Heartbeat } from '../checkpoint/heartbeat.ts';
import type { StoreIo } from '../checkpoint/io.ts';
import { mayTakeOver, type TakeOver } from '../checkpoint/may-take-over.ts';
import { NodeWatch } from '../checkpoint/node-watch.ts';
import { messageOf, NodeUnfit } from '../model/errors.ts';
import { formatKey } from '../model/job.ts';
import type { Job } from './job.ts';
import type { Log } from './log.ts';

/** Beyond the lease: a guest whose lease is over freezes itself within its own turn, a second under load. */
const MARGIN_MS = 5_000;
/** How often a claim that another node has is looked at. */
const LOOK_EVERY_MS = 1_000;

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

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Epoch of this node's claim; 0 without one. */
  epochOf(job: Job): number {
    return this.#held.get(job)?.epoch ?? 0;
  }

  /**
   * Claims a job, when the node that has it has let go of it, or has been silent for longer than its lease. Throws NodeUnfit with the reason when that is not so within
   * `waitMs`: the job goes back to the queue.
   */
  async take(job: Job, waitMs: number, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + waitMs;
    for (;;) {
      signal.throwIfAborted();
      const verdict = await this.#try(job);
      if (verdict.allowed) return;
      if (performance.now() + Math.min(verdict.waitMs, LOOK_EVERY_MS) > deadline)
        throw new NodeUnfit(`another copy of this job is not known to be gone: ${verdict.why}`, {
          wholeNode: false,
        });
      job.log.debug(`waiting to go on: ${verdict.why}`);
      await sleep(Math.min(verdict.waitMs, LOOK_EVERY_MS), undefined, { signal });
    }
  }

  /** Throws ClaimLost, or StoreUnavailable, when this node's right to the job is not certain. */
  async confirm(job: Job): Promise<void> {
    const claim = this.#held.get(job);
    if (!claim || !(await this.#claims.isMine(claim)))
      throw new NodeUnfit(`${formatKey(job.key)}: another node has claimed this job`, { wholeNode: false });
  }

  /** Lets the next have the job at once. Never throws: a claim that cannot be released now is overtaken after the lease. */
  async release(job: Job): Promise<void> {
    const claim = this.#held.get(job);
    this.#held.delete(job);
    if (claim)
      await this.#claims
        .release(claim)
        .catch((error: unknown) => job.log.warn(`the claim could not be released: ${messageOf(error)}`));
  }

  async #try(job: Job): Promise<TakeOver> {
    const claim = await this.#claims.current(job.key);
    const node =
      claim && claim.holder.host !== this.self.host
        ? await this.#watch.observe(claim.holder.host)
        : undefined;
    const verdict = mayTakeOver({
      claim,
      self: this.self,
      machineIsHere: [...this.#held.values()].some(({ nonce }) => nonce === claim?.nonce),
      node,
      leaseMs: this.#options.leaseMs,
      marginMs: MARGIN_MS,
    });
    if (!verdict.allowed) return verdict;
    const holder = { ...this.self, machine: job.machine, incarnation: job.facts.incarnation };
    try {
      this.#held.set(job, await this.#claims.acquire(job.key, holder, claim?.epoch ?? 0));
      return verdict;
    } catch (error) {
      // Another node was quicker: it may be done with the job before we have to give up.
      if (isClaimLost(error)) return { allowed: false, why: messageOf(error), waitMs: LOOK_EVERY_MS };
      throw error;
    }
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
      for (const [job, claim] of this.#held) {
        const current = await this.#claims.current(job.key);
        if (current?.nonce === claim.nonce) job.resources.guest?.lease(this.#options.leaseMs);
        else {
          this.#held.delete(job);
          this.#options.overtaken(job);
        }
      }
    } catch (error) {
      this.#options.log.warn(`no sign of life could be given in the store: ${messageOf(error)}`);
    }
  }
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
