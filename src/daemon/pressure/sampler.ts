import { History } from '../../pressure/history.ts';
import type { MachineUsage } from '../../pressure/machine.ts';
import { type JobLoad, type NodeLoad, nodeReport } from '../../pressure/node.ts';
import { stallShares } from '../../pressure/psi.ts';
import type { HostSample } from '../../pressure/sample.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { isBorrower } from './lending.ts';
import { WatchedHost } from './read-proc.ts';
import type { HostView, NodeView } from './view.ts';
import { Watched } from './watched.ts';

const EVERY_MS = 1_000;
/** Looks that are asked for keep this distance. */
const LEAST_MS = 450;
/** Only the change since the last look or two is asked of the host. */
const HOST_SAMPLES = 4;
/** What is older tells nothing of this moment; the load sensor holds values for as long. */
const RECENT_MS = 5_000;

/** Looks at the node and its machines once a second, and tells `look` what it saw. */
export class Sampler {
  readonly #node: Node;
  readonly #look: (view: NodeView) => void;
  readonly #watched = new Map<Job, Watched>();
  readonly #host = new History<HostSample>(HOST_SAMPLES);
  readonly #hostFiles = new WatchedHost();
  #timer: NodeJS.Timeout | undefined;
  #view: NodeView | undefined;
  readonly #cost = { samples: 0, ms: 0 };

  constructor(node: Node, look: (view: NodeView) => void) {
    this.#node = node;
    this.#look = look;
  }

  /** Undefined before the first look. */
  get view(): NodeView | undefined {
    return this.#view;
  }

  /** The slack of the last look, less what was granted and reserved since. Undefined: that look is too old, or saw no host. */
  get lendableBytes(): number | undefined {
    const view = this.#view;
    if (!view?.host || performance.now() - view.atMs > RECENT_MS) return undefined;
    const load = this.#load(view.host, this.#node.jobs.all());
    return nodeReport(load, this.#node.health.reason === undefined).slack.memoryBytes;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#take(), EVERY_MS);
  }

  /** Looks now, unless it was just done. */
  lookSoon(): void {
    if (performance.now() - (this.#view?.atMs ?? 0) >= LEAST_MS) this.#take();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#hostFiles.close();
    for (const watched of this.#watched.values()) watched.close();
  }

  #take(): void {
    const atMs = performance.now();
    this.#cost.samples += 1;
    const jobs = this.#node.jobs.all();
    const present = new Set(jobs);
    for (const [job, watched] of this.#watched) {
      if (present.has(job)) continue;
      watched.close();
      this.#watched.delete(job);
    }
    for (const job of jobs) {
      const watched = this.#watched.get(job) ?? new Watched(job);
      this.#watched.set(job, watched);
      watched.look(atMs);
    }
    const host = this.#lookAtHost(atMs);
    this.#view = this.#judge(atMs, host);
    this.#look(this.#view);
    this.#cost.ms += performance.now() - atMs;
  }

  #lookAtHost(atMs: number): HostView | undefined {
    const sample = this.#hostFiles.read(atMs);
    if (!sample) return undefined;
    this.#host.add(sample);
    const before = this.#host.all()[0] as HostSample;
    const elapsedMs = atMs - before.atMs;
    return {
      sample,
      idleCpus: elapsedMs > 0 ? (sample.idleMs - before.idleMs) / elapsedMs : 0,
      stalls: before.stalls && sample.stalls && stallShares(before.stalls, sample.stalls, elapsedMs),
    };
  }

  #judge(atMs: number, host: HostView | undefined): NodeView {
    const jobs = [...this.#watched.values()].map(({ job }) => ({
      job,
      usage: this.#usage(job),
      guest: job.report?.sample,
      steps: job.report?.steps ?? [],
    }));
    const load = this.#load(
      host,
      jobs.map(({ job }) => job),
    );
    return {
      atMs,
      report: nodeReport(load, this.#node.health.reason === undefined),
      load,
      host,
      jobs,
      cost: { ...this.#cost },
    };
  }

  #load(host: HostView | undefined, jobs: readonly Job[]): NodeLoad {
    const { config, context } = this.#node;
    return {
      memory: host && {
        availableBytes: host.sample.availableBytes,
        keptBytes: config.vm.reserve_memory,
        capacityBytes: context.capacity.memoryBytes,
        lendsUnreserved: config.pressure.lend_unreserved,
      },
      cpus: context.capacity.cpus,
      idleCpus: host?.idleCpus ?? 0,
      stalls: host?.stalls,
      jobs: jobs.map((job): JobLoad => ({ ...reservationOf(this.#node, job), usage: this.#usage(job) })),
    };
  }

  #usage(job: Job): MachineUsage | undefined {
    return this.#watched.get(job)?.usage(this.#node.config.pressure.give_back * 1000);
  }
}

/** A machine that was saved, or is being saved, belongs to a job that the scheduler has taken off this node. */
const OFF_NODE = new Set(['saving', 'saved', 'parked', 'ended']);
const STEADY = new Set(['ready', 'running', 'frozen']);

/** What a job has of its node, in the eyes of whoever counts slack. */
export function reservationOf(node: Node, job: Job): Omit<JobLoad, 'usage'> {
  const { phase, lost } = job.state;
  const borrows = isBorrower(node, job);
  const reserves = !OFF_NODE.has(phase) && (!borrows || job.isAdmitted);
  const { config } = node;
  return {
    reservedBytes: reserves ? (job.sizes.memoryBytes ?? config.vm.base_memory) : 0,
    reservedCpus: reserves ? (job.sizes.cpus ?? 1) : 0,
    isBorrower: borrows,
    isSteady: STEADY.has(phase) && lost === undefined,
  };
}
