import { constants } from 'node:os';

import { growthOf, type QueueGrowth } from '../../config/growth.ts';
import { messageOf } from '../../model/errors.ts';
import { formatBytes, MiB } from '../../model/units.ts';
import {
  decideCpus,
  decideMemory,
  type Growing,
  limitBytes,
  type MemoryStep,
  markBytes,
} from '../../pressure/growth.ts';
import { growthRoom } from '../../pressure/growth-room.ts';
import { GrowthSeries } from '../../pressure/growth-series.ts';
import type { GuestSample } from '../../pressure/sample.ts';
import type { Job } from '../job.ts';
import {
  GROW_TIMEOUT_MS,
  grow,
  learnSizes,
  mostMemory,
  refreshSizes,
  shrink,
  useCpus,
} from '../machine-size.ts';
import { whyNotSaved } from '../moving/freeze.ts';
import { abandonRaise, prepareRaise, raiseRequest } from '../moving/raise-request.ts';
import type { Node } from '../node.ts';
import { migrate } from '../verbs/migrate.ts';
import { askedFor, noteGrowth, tellSize } from './grown-size.ts';
import { reservationOf } from './sampler.ts';
import type { NodeView } from './view.ts';

/** What has just failed is not tried again at once. */
const AGAIN_AFTER_MS = 20_000;
/** A report that is older than a change says what was before it. */
const SETTLES_MS = 3_000;

/** What is remembered of a job between its reports. */
interface Watch {
  readonly series: GrowthSeries;
  isBusy: boolean;
  changedAtMs: number;
  /** No growth and no requeue before; 0: none has failed. */
  failedUntilMs: number;
  failure: string;
  /** What was last said about it, and for which wall. */
  said: string;
}

/** Watches how near jobs are to their walls, and moves the walls as the site allows ([growth] in caddis.toml). */
export class Growth {
  readonly #node: Node;
  readonly #watches = new WeakMap<Job, Watch>();

  constructor(node: Node) {
    this.#node = node;
  }

  /** To be called for every report of a job's agent. */
  reported(job: Job): void {
    const policy = growthOf(this.#node.config.growth, job.facts.request.queue);
    const sample = job.report?.sample;
    if (!sample || job.state.phase !== 'running' || job.sizes.memoryBytes === undefined) return;
    const watch = this.#watchOf(job, policy);
    const heldBytes = heldOf(job, sample);
    if (heldBytes !== undefined)
      watch.series.add({ atMs: sample.atMs, heldBytes, runnableTasks: sample.runnableTasks });
    // A site that has taken growth back leaves no mark behind.
    if (watch.isBusy || (!policy.enabled && sample.job?.markBytes === undefined)) return;
    watch.isBusy = true;
    this.#look(job, policy, watch, sample)
      .catch((error: unknown) => {
        watch.failedUntilMs = performance.now() + AGAIN_AFTER_MS;
        watch.failure = messageOf(error);
        job.log.warn(`its size stays as it is for now: ${messageOf(error)}`);
      })
      .finally(() => {
        watch.isBusy = false;
      });
  }

  #watchOf(job: Job, policy: QueueGrowth): Watch {
    const known = this.#watches.get(job);
    if (known) return known;
    const watch: Watch = {
      series: new GrowthSeries(policy.shrink_after * 1000),
      isBusy: false,
      changedAtMs: performance.now(),
      failedUntilMs: 0,
      failure: '',
      said: '',
    };
    this.#watches.set(job, watch);
    if (job.facts.growth) void tellSize(job);
    return watch;
  }

  async #look(job: Job, policy: QueueGrowth, watch: Watch, sample: GuestSample): Promise<void> {
    if (!policy.enabled) return setMark(job, 'none');
    const growing = await this.#growing(job, policy, watch, sample);
    if (!growing) return;
    const step = decideMemory(growing);
    switch (step.do) {
      case 'grow':
        await this.#grow(job, watch, growing, { memoryBytes: step.toBytes, cpus: undefined });
        return;
      case 'shrink':
        await this.#shrink(job, watch, growing, step.toBytes);
        return;
      case 'requeue':
        return this.#requeue(job, growing, step);
      case 'signal':
      case 'leave':
        this.#leave(job, watch, growing, step);
        if (sample.job?.markBytes !== undefined) await setMark(job, 'none');
        break;
      case 'nothing': {
        const mark = markBytes(policy, growing.has.memoryBytes);
        if (sample.job && sample.job.markBytes !== mark) await setMark(job, mark);
        watch.said = '';
        break;
      }
    }
    const cpus = decideCpus(growing);
    if (cpus === undefined || growing.nowMs < watch.failedUntilMs) return;
    if (cpus > growing.has.cpus) await this.#grow(job, watch, growing, { memoryBytes: undefined, cpus });
    else await this.#useFewer(job, watch, growing, cpus);
  }

  async #growing(
    job: Job,
    policy: QueueGrowth,
    watch: Watch,
    sample: GuestSample,
  ): Promise<Growing | undefined> {
    const { context } = this.#node;
    const nowMs = performance.now();
    if (job.sizes.totalBytes === undefined)
      await job.exclusive(() => learnSizes(context, job, AbortSignal.timeout(GROW_TIMEOUT_MS)));
    const asked = askedFor(job, context.config.vm.base_memory);
    const most = { memoryBytes: mostMemory(job, context.shape), cpus: context.shape.maxCpus };
    const has = {
      memoryBytes: job.sizes.memoryBytes ?? asked.memoryBytes,
      cpus: job.sizes.cpus ?? asked.cpus,
    };
    // A caddisd that died between a growth and its note has left a wall that it does not know.
    const wall = sample.job?.wallBytes;
    const limit = limitBytes({ policy, asked, most });
    if (
      wall !== undefined &&
      wall > has.memoryBytes + MiB &&
      wall <= limit + MiB &&
      sample.atMs - watch.changedAtMs > SETTLES_MS
    ) {
      job.sizes.memoryBytes = wall;
      await this.#changed(job, watch);
      return undefined;
    }
    const hasFailed = nowMs < watch.failedUntilMs;
    const room = this.#room(job);
    return {
      ...{ policy, nowMs, asked, has, most },
      series: watch.series,
      room: hasFailed ? { memoryBytes: 0, cpus: Math.min(room.cpus, 0) } : room,
      changedAtMs: watch.changedAtMs,
      staysBecause: hasFailed ? watch.failure : this.#whyItStays(job, policy),
    };
  }

  #room(job: Job) {
    const view: NodeView | undefined = this.#node.view;
    if (!view) return { memoryBytes: 0, cpus: 0 };
    const { config, context } = this.#node;
    const loads = view.jobs.map((one) => ({
      job: one.job,
      load: { ...reservationOf(this.#node, one.job), usage: one.usage },
    }));
    return growthRoom({
      memory: view.host && {
        availableBytes: view.host.sample.availableBytes,
        keptBytes: config.vm.reserve_memory,
        capacityBytes: context.capacity.memoryBytes,
      },
      cpus: context.capacity.cpus,
      idleCpus: view.host?.idleCpus ?? 0,
      others: loads.filter((one) => one.job !== job).map(({ load }) => load),
      self: loads.find((one) => one.job === job)?.load ?? {
        ...reservationOf(this.#node, job),
        usage: undefined,
      },
    });
  }

  #whyItStays(job: Job, policy: QueueGrowth): string | undefined {
    const { requeueable } = job.facts.request;
    if (!requeueable) return 'it cannot go back to the queue';
    const obstacle = whyNotSaved(this.#node, job);
    if (obstacle !== undefined) return obstacle;
    const requeues = job.facts.growth?.requeues ?? 0;
    return requeues < policy.requeues
      ? undefined
      : `it went back to the queue for more ${requeues} times (growth.requeues)`;
  }

  async #grow(
    job: Job,
    watch: Watch,
    growing: Growing,
    to: { memoryBytes: number | undefined; cpus: number | undefined },
  ): Promise<void> {
    const begun = performance.now();
    const signal = AbortSignal.any([job.phaseSignal, AbortSignal.timeout(GROW_TIMEOUT_MS)]);
    await job.exclusive(async () => {
      await refreshSizes(this.#node.context, job);
      await grow(this.#node.context, job, to, signal);
    });
    job.log.info(`grown from ${words(growing.has)} to ${words(sizeOf(job, growing))}`, {
      ...figures(growing),
      ms: Math.round(performance.now() - begun),
    });
    await this.#changed(job, watch);
  }

  async #shrink(job: Job, watch: Watch, growing: Growing, toBytes: number): Promise<void> {
    const { wantedBytes, givenBytes } = await job.exclusive(() => shrink(this.#node.context, job, toBytes));
    const kept = wantedBytes - givenBytes;
    job.log.info(
      `shrunk from ${words(growing.has)} to ${words(sizeOf(job, growing))}; of ${formatBytes(wantedBytes)} its machine has given back ${formatBytes(givenBytes)}${kept > 0 ? ', and keeps the rest for itself' : ''}`,
      { ...figures(growing), peak_bytes: growing.series.peakHeldBytes },
    );
    await this.#changed(job, watch);
  }

  async #useFewer(job: Job, watch: Watch, growing: Growing, cpus: number): Promise<void> {
    await job.exclusive(() => useCpus(job, cpus));
    job.log.info(
      `shrunk from ${words(growing.has)} to ${words(sizeOf(job, growing))}: ${growing.room.cpus < 0 ? 'others want their CPUs' : 'it does not use more'}`,
      figures(growing),
    );
    await this.#changed(job, watch);
  }

  /** The next caddisd, the checkpoint, the schedulers' users. */
  async #changed(job: Job, watch: Watch): Promise<void> {
    watch.changedAtMs = performance.now();
    noteGrowth(job, askedFor(job, this.#node.config.vm.base_memory));
    const { domain } = job.resources;
    if (domain) await this.#node.context.hypervisor.setFacts(domain, job.facts);
    void tellSize(job);
  }

  /**
   * Stands still at once, so that it does not die on its way; then it goes back to the queue by its scheduler's own means, and is saved. What is asked for in its name is noted before
   * anything is done: whoever goes on with this after a crash asks for the same.
   */
  async #requeue(job: Job, growing: Growing, { askBytes, why }: MemoryStep & { do: 'requeue' }) {
    // Before it stands still for nothing.
    await job.scheduler.raise.check(job.request, AbortSignal.timeout(AGAIN_AFTER_MS));
    const before = job.facts.growth;
    const { domain } = job.resources;
    if (!domain || job.state.phase !== 'running') return;
    job.log.warn(
      `back to the queue, to ask for ${formatBytes(askBytes)} in place of ${formatBytes(growing.has.memoryBytes)}: ${why}`,
      figures(growing),
    );
    job.facts.growth = {
      ...before,
      askedBytes: growing.asked.memoryBytes,
      raisedBytes: askBytes,
      requeues: (before?.requeues ?? 0) + 1,
    };
    const { hypervisor } = this.#node.context;
    await job.dispatch({ type: 'suspend' });
    try {
      await hypervisor.setFacts(domain, job.facts);
      await prepareRaise(this.#node, job, askBytes);
      await migrate(this.#node, job);
      // Beside its save, which may take longer than its scheduler waits before the next start.
      job.raising = raiseRequest(this.#node, job);
    } catch (error) {
      if (before) job.facts.growth = before;
      else delete job.facts.growth;
      await abandonRaise(this.#node, job);
      await job.dispatch({ type: 'resume' });
      await hypervisor.setFacts(domain, job.facts);
      throw error;
    }
  }

  #leave(job: Job, watch: Watch, growing: Growing, step: MemoryStep & { do: 'signal' | 'leave' }): void {
    const said = `${step.do} ${growing.has.memoryBytes}`;
    if (watch.said === said) return;
    watch.said = said;
    const { signal } = growing.policy;
    const what = step.do === 'signal' ? `it gets ${signal}` : 'it is left to its wall';
    job.log.warn(
      `near its wall of ${formatBytes(growing.has.memoryBytes)}: ${step.why}; ${what}`,
      figures(growing),
    );
    if (step.do !== 'signal') return;
    // Before the signal, which may be its end.
    job.resources.guest?.note(
      `caddis: this job holds ${formatBytes(growing.series.heldBytes ?? 0)} of the ${formatBytes(growing.has.memoryBytes)} of memory that it may have: it gets ${signal}`,
    );
    job.resources.guest?.signal(constants.signals[signal]);
  }
}

/** Undefined: the agent did not say. */
function heldOf(job: Job, { job: use, totalBytes, availableBytes }: GuestSample): number | undefined {
  if (use) return use.heldBytes;
  // An agent of an older checkpoint: what the machine has less what it could give, beside what it keeps for itself.
  return job.sizes.totalBytes === undefined
    ? undefined
    : Math.max(totalBytes - job.sizes.idleLossBytes - availableBytes, 0);
}

async function setMark(job: Job, mark: number | 'none'): Promise<void> {
  await job.exclusive(async () => {
    await job.resources.guest?.resize(
      { cpus: 0, memoryBytes: 0, jobMemoryBytes: 0, jobMarkBytes: mark },
      { timeoutMs: GROW_TIMEOUT_MS, signal: job.phaseSignal },
    );
  });
}

function sizeOf({ sizes }: Job, { has }: Growing) {
  return { memoryBytes: sizes.memoryBytes ?? has.memoryBytes, cpus: sizes.cpus ?? has.cpus };
}

function words({ memoryBytes, cpus }: Growing['has']): string {
  return `${formatBytes(memoryBytes)}, ${cpus} CPUs`;
}

/** The numbers that led to it. */
function figures({ series, room, policy, asked, most, has }: Growing): Record<string, number> {
  return {
    held_bytes: series.heldBytes ?? 0,
    held_bytes_per_s: Math.round(series.bytesPerMs * 1000),
    wall_bytes: has.memoryBytes,
    mark_bytes: markBytes(policy, has.memoryBytes),
    asked_bytes: asked.memoryBytes,
    limit_bytes: Math.round(limitBytes({ policy, asked, most })),
    room_bytes: Math.round(room.memoryBytes),
    room_cpus: Math.round(room.cpus * 100) / 100,
  };
}
