import { growthOf, type QueueGrowth } from '../../config/growth.ts';
import { messageOf } from '../../model/errors.ts';
import { MiB } from '../../model/units.ts';
import {
  decideCpus,
  decideMemory,
  type Growing,
  limitBytes,
  markBytes,
  type Size,
} from '../../pressure/growth.ts';
import { growthRoom } from '../../pressure/growth-room.ts';
import { GrowthSeries } from '../../pressure/growth-series.ts';
import type { GuestSample } from '../../pressure/sample.ts';
import type { Job } from '../job.ts';
import { GROW_TIMEOUT_MS, learnSizes, mostMemory } from '../machine-size.ts';
import { whyNotSaved } from '../moving/why-not-saved.ts';
import type { Node } from '../node.ts';
import { askedFor, noteGrowth, tellSize } from './grown-size.ts';
import { growJob, leaveToWall, sendForMore, shrinkJob, takeCpusBack } from './growth-deeds.ts';
import { RaiseObstacle } from './raise-obstacle.ts';
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
  readonly obstacle: RaiseObstacle;
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
    if (!sample || job.state.phase !== 'running') return;
    const watch = this.#watchOf(job, policy);
    const heldBytes = heldOf(job, sample);
    if (heldBytes !== undefined)
      watch.series.add({ atMs: sample.atMs, heldBytes, runnableTasks: sample.runnableTasks });
    // A site that has taken growth back leaves no mark behind.
    if (watch.isBusy || (!policy.enabled && sample.job?.markBytes === undefined)) return;
    watch.isBusy = true;
    this.#look(job, policy, watch, sample)
      .catch((error: unknown) => {
        // It ends, or leaves.
        if (job.state.phase !== 'running') return;
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
      obstacle: new RaiseObstacle(),
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
        await growJob(this.#node, job, growing, { memoryBytes: step.toBytes, cpus: undefined });
        return this.#changed(job, watch, growing.asked);
      case 'shrink':
        await shrinkJob(this.#node, job, growing, step.toBytes);
        return this.#changed(job, watch, growing.asked);
      case 'requeue':
        // Before it stands still for nothing. The next report finds it said.
        if ((await watch.obstacle.ask(job, growing.nowMs)) === undefined)
          return sendForMore(this.#node, job, growing, step);
        break;
      case 'signal':
      case 'leave':
        // Once for each wall.
        if (watch.said !== `${step.do} ${growing.has.memoryBytes}`) leaveToWall(job, growing, step);
        watch.said = `${step.do} ${growing.has.memoryBytes}`;
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
    if (cpus > growing.has.cpus) await growJob(this.#node, job, growing, { memoryBytes: undefined, cpus });
    else await takeCpusBack(job, growing, cpus);
    return this.#changed(job, watch, growing.asked);
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
    const asked = askedFor(job);
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
      await this.#changed(job, watch, asked);
      return undefined;
    }
    const hasFailed = nowMs < watch.failedUntilMs;
    const room = this.#room(job);
    return {
      ...{ policy, nowMs, asked, has, most },
      reserved: { ...asked, memoryBytes: job.facts.request.memoryBytes ?? asked.memoryBytes },
      series: watch.series,
      room: hasFailed ? { memoryBytes: 0, cpus: Math.min(room.cpus, 0) } : room,
      changedAtMs: watch.changedAtMs,
      staysBecause: hasFailed ? watch.failure : this.#whyItStays(job, policy, watch),
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
        lendsUnreserved: config.pressure.lend_unreserved,
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

  #whyItStays(job: Job, policy: QueueGrowth, watch: Watch): string | undefined {
    const { requeueable, queue } = job.facts.request;
    if (!requeueable) return 'it cannot go back to the queue';
    // What it asks for is slack, in words of its own.
    if (this.#node.config.pressure.scavenge.includes(queue)) return 'it runs in what others have reserved';
    const obstacle = whyNotSaved(this.#node, job);
    if (obstacle !== undefined) return obstacle;
    const requeues = job.facts.growth?.requeues ?? 0;
    return requeues < policy.requeues
      ? watch.obstacle.known(performance.now())
      : `it went back to the queue for more ${requeues} times (growth.requeues)`;
  }

  /** The next caddisd, the checkpoint, the schedulers' users. */
  async #changed(job: Job, watch: Watch, asked: Size): Promise<void> {
    watch.changedAtMs = performance.now();
    noteGrowth(job, asked);
    const { domain } = job.resources;
    if (domain) await this.#node.context.hypervisor.setFacts(domain, job.facts);
    void tellSize(job);
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
