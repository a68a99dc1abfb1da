import { messageOf } from '../../model/errors.ts';
import { MiB } from '../../model/units.ts';
import type { Victim } from '../../pressure/victims.ts';
import { QEMU_OVERHEAD_BYTES } from '../../vm/capacity.ts';
import type { Job } from '../job.ts';
import { whyNotSaved } from '../moving/why-not-saved.ts';
import type { Node } from '../node.ts';
import type { JobView } from './view.ts';

const ASK_TIMEOUT_MS = 10_000;
/** A guest gives what its balloon asks for within two seconds (facts: "Clones"), and the host's numbers follow. */
const BALLOON_MS = 4_000;
/** A balloon counts from what a machine was made with (Hypervisor.setBalloon), and QEMU refuses to take all of it. */
const LEFT_BY_BALLOON_BYTES = 32 * MiB;
/** A guest needs some cache to go on at all. */
const KEPT_FREE_BYTES = 48 * MiB;
/** A scheduler that has been told to requeue tells the steps within this time; else it is told again. */
const LEAVES_WITHIN_MS = 60_000;
/** One that could not be sent back is not tried again before. */
const AGAIN_AFTER_MS = 30_000;

/** What this node knows of a machine that runs in what others have reserved, beside its job. */
export class Borrower {
  readonly job: Job;
  weight: Victim['weight'] = 'low';
  balloonBytes = 0;
  #balloonSetMs = Number.NEGATIVE_INFINITY;
  #sentBackMs = Number.NEGATIVE_INFINITY;
  #priority: number | undefined;
  #refusal: { readonly reason: string; readonly untilMs: number } | undefined;
  /** What is being done to it now. */
  doing: string | undefined;

  constructor(job: Job) {
    this.job = job;
  }

  /** Asks once for what the scheduler and libvirt know. An earlier caddisd, or another host, may have left its balloon filled. */
  async learn(node: Node): Promise<void> {
    const { domain } = this.job.resources;
    const [priority, balloonBytes] = await Promise.all([
      this.job.scheduler.priority(this.job.key, AbortSignal.timeout(ASK_TIMEOUT_MS)),
      domain
        ? node.context.hypervisor.balloonBytes(domain).catch((error: unknown) => {
            this.job.log.debug(`its balloon is not known: ${messageOf(error)}`);
            return 0;
          })
        : 0,
    ]);
    this.#priority = priority;
    // Rounding of pages and blocks.
    this.balloonBytes = balloonBytes > MiB ? balloonBytes : 0;
  }

  /** It was sent back to the queue: what comes next is the scheduler's. */
  sentBack(): void {
    this.#sentBackMs = performance.now();
  }

  filled(bytes: number): void {
    this.balloonBytes = bytes;
    this.#balloonSetMs = performance.now();
  }

  refused(reason: string): void {
    this.#refusal = { reason, untilMs: performance.now() + AGAIN_AFTER_MS };
  }

  victim(node: Node, view: JobView, name: string, nowMs: number): Victim {
    const { job } = this;
    const { usage, guest } = view;
    const isReclaiming = nowMs - this.#balloonSetMs < BALLOON_MS;
    const usedBytes = guest ? guest.totalBytes - guest.availableBytes - this.balloonBytes : 0;
    const residentBytes = usage?.residentBytes ?? 0;
    const touchedBytes = Math.max(residentBytes - QEMU_OVERHEAD_BYTES[node.context.acceleration], 0);
    const untouchedBytes = guest ? Math.max(guest.totalBytes - this.balloonBytes - touchedBytes, 0) : 0;
    const idleBytes = guest ? touchedBytes - Math.max(usedBytes, 0) - KEPT_FREE_BYTES : 0;
    const mostByBalloon = node.config.vm.base_memory - LEFT_BY_BALLOON_BYTES;
    return {
      job: name,
      standing: this.#standing(nowMs),
      standingMs: job.frozenSinceMs === undefined ? 0 : nowMs - job.frozenSinceMs,
      weight: this.weight,
      cpus: usage?.cpuDemand ?? 0,
      residentBytes,
      balloonBytes: this.balloonBytes,
      reclaimableBytes: isReclaiming
        ? 0
        : Math.max(Math.floor(Math.min(idleBytes, mostByBalloon - this.balloonBytes - untouchedBytes)), 0),
      untouchedBytes,
      isReclaiming,
      growthBytesPerSecond: usage?.growthNowBytesPerSecond ?? 0,
      priority: this.#priority,
      unsavable: this.#whyNotEvicted(node, nowMs),
    };
  }

  #standing(nowMs: number): Victim['standing'] {
    const { phase, pressed, asking, lost } = this.job.state;
    if (phase === 'saving' || phase === 'saved' || phase === 'ending' || this.doing === 'evict')
      return 'leaving';
    if (phase === 'frozen' && nowMs - this.#sentBackMs < LEAVES_WITHIN_MS) return 'leaving';
    if (this.doing !== undefined || lost !== undefined) return 'other';
    if (phase === 'ready' || phase === 'running') return 'awake';
    return phase === 'frozen' && pressed && !asking ? 'pressed' : 'other';
  }

  #whyNotEvicted(node: Node, nowMs: number): string | undefined {
    if (this.#refusal && nowMs < this.#refusal.untilMs) return this.#refusal.reason;
    if (!this.job.request.requeueable) return 'it is interactive, or its user asked that it never runs twice';
    return whyNotSaved(node, this.job);
  }
}
