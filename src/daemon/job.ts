import type { Generation } from '../checkpoint/generation.ts';
import type { GuestJobUsage, GuestPressure } from '../guest/protocol/machine-documents.ts';
import {
  INITIAL_STATE,
  type JobEvent,
  type JobState,
  type JobStep,
  transition,
} from '../jobs/transitions.ts';
import type { Domain } from '../libvirt/index.ts';
import { messageOf } from '../model/errors.ts';
import type { Identity } from '../model/identity.ts';
import { formatKey, type HookCall, type JobKey, type JobRequest } from '../model/job.ts';
import type { GuestSample } from '../pressure/sample.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import type { MachineFacts } from '../vm/metadata.ts';
import type { Guest } from './guest.ts';
import type { Log } from './log.ts';
import type { KeptFile } from './moving/kept-output.ts';
import type { SavedSessions } from './moving/moved-sessions.ts';
import type { StepOutputs } from './moving/step-outputs.ts';
import type { MachinePlaces } from './places.ts';
import { Turns } from './turns.ts';

/** What a job holds on this node, filled in as its start goes on; whatever is set is given back at its end. */
export interface JobResources {
  domain?: Domain;
  address?: string;
  scratch?: string;
  guest?: Guest;
}

export interface JobSizes {
  cpus: number | undefined;
  memoryBytes: number | undefined;
  pluggedBytes: number;
  /** MemTotal as the guest last said. */
  totalBytes: number | undefined;
  /** MemTotal less MemAvailable while no step ran: what kernel and agent keep for themselves. */
  idleLossBytes: number;
  /** What the guest last said it could still give. */
  availableBytes: number | undefined;
}

/** Carries out one step; an event that follows from it is taken at once. */
export type Execute = (job: Job, step: JobStep) => Promise<JobEvent | undefined>;

/** One incarnation of a job on this node: its state, its machine, and the executor of its transitions. */
export class Job {
  readonly key: JobKey;
  readonly facts: MachineFacts;
  readonly scheduler: Scheduler;
  readonly places: MachinePlaces;
  readonly log: Log;
  readonly identity: Identity;
  readonly resources: JobResources = {};
  readonly sizes: JobSizes;
  /** Host CPUs of the job, once a step has shown them. */
  hostCpus: readonly number[] | undefined;
  /** The shims' own calls, by session: relayed commands take the scheduler's variables from them. */
  readonly shims = new Map<bigint, HookCall>();
  /** The scheduler's variables with which each step was started in the guest: after a move they differ from its client's. */
  readonly given = new Map<bigint, Readonly<Record<string, string>>>();
  /** Sessions of the job's main step: its script, in each run. */
  readonly mainSteps = new Set<bigint>();
  /** Where each step's output went when its client came: one that has ended can no longer be looked at. */
  readonly outputs = new Map<bigint, StepOutputs>();
  readonly startMs: Record<string, number> = {};
  /** Base boot; the file of a checkpoint; its machine, from another node; the same, where it stood. */
  bootPath: 'base' | 'restore' | 'hand-over' | 'thaw' = 'base';
  /** Number of the checkpoint that was made when it left. */
  savedAs: number | undefined;
  /** Under way, or done: the next start is bound to a host. */
  binding: Promise<void> | undefined;
  /** The same for asking for more memory in its name. */
  raising: Promise<void> | undefined;
  /** Steps with which a restored machine came and that no client has claimed yet. */
  cameWith: SavedSessions['sessions'] = [];
  /** Output of earlier runs that waits for its step to take it over. */
  kept: readonly KeptFile[] = [];
  /** An earlier caddisd made its machine: what is known of its steps, their shims tell when they come back. */
  isAdopted = false;
  /** A job that runs in slack was granted it. Until then it takes none of the slack that others are judged by. */
  isAdmitted = false;
  /** The controller's word on what the prolog was not told; undefined: it was not asked yet. */
  asked: Promise<void> | undefined;
  /** Of a save or restore that is under way. */
  progress:
    | { readonly what: 'saving' | 'restoring'; readonly totalBytes: number; doneBytes: number }
    | undefined;
  /** While its memory is written and it runs: libvirt starts the machine when that is over, whoever has suspended it meanwhile. */
  live: { readonly begun: Promise<void>; readonly abandon: () => Promise<void> } | undefined;
  /** What it wrote over of its memory when that was last seen, in bytes a second. */
  dirtyBytesPerSecond = 0;
  /** Monotonic; while the machine stands still. */
  frozenSinceMs: number | undefined;
  /** Monotonic; when it was frozen to leave this node. */
  leftSinceMs: number | undefined;
  /** For how long it stood still so far. */
  frozenMs = 0;
  /** Monotonic; when its own script asked its scheduler to run it again. */
  putBackByItselfMs: number | undefined;
  /** What its time limit does not know of what it stood still for others; below 0: it was given too much. */
  owedMs = 0;
  /** The checkpoint that is this job's machine as it stands still: nothing of it may run before that is withdrawn. */
  stored: Generation | undefined;
  /** It leaves since owners want its memory: nothing of it stays here. */
  givesBack = false;
  /** What the agent last said. */
  report:
    | {
        readonly sample: GuestSample;
        readonly steps: GuestPressure['sessions'];
        readonly used: GuestJobUsage | undefined;
      }
    | undefined;
  /** CPU time of its QEMU, in milliseconds, and of those that its machine was before. */
  hostCpu: { readonly startTicks: string | undefined; readonly beforeMs: number; readonly nowMs: number };
  /** The end of this run was noted. */
  isAccounted = false;
  /** A limit on its CPU time was reached, and its steps were told. */
  cpuLimitSeen: 'soft' | 'hard' | undefined;
  #state: JobState = INITIAL_STATE;
  #leaving = new AbortController();
  readonly #execute: Execute;
  /** Steps are carried out one after the other, in the order of their events. */
  #work: Promise<void> = Promise.resolve();
  /** Its size changes, or its machine is written, one at a time. */
  readonly #sizing = new Turns();
  readonly #checkpointing = new Turns();

  constructor(options: {
    facts: MachineFacts;
    scheduler: Scheduler;
    places: MachinePlaces;
    log: Log;
    identity: Identity;
    execute: Execute;
  }) {
    this.facts = options.facts;
    this.key = options.facts.key;
    this.scheduler = options.scheduler;
    this.places = options.places;
    this.identity = options.identity;
    this.#execute = options.execute;
    this.log = options.log.child({ job: formatKey(this.key), incarnation: options.facts.incarnation });
    this.hostCpu = { startTicks: undefined, beforeMs: options.facts.hostCpuBeforeMs ?? 0, nowMs: 0 };
    const { request, growth } = options.facts;
    this.sizes = {
      cpus: growth?.cpus ?? request.cpus,
      memoryBytes: growth?.memoryBytes ?? request.memoryBytes,
      pluggedBytes: 0,
      totalBytes: undefined,
      idleLossBytes: 0,
      availableBytes: undefined,
    };
  }

  get state(): JobState {
    return this.#state;
  }

  /** Aborted when the job leaves the phase that it is in now. */
  get phaseSignal(): AbortSignal {
    return this.#leaving.signal;
  }

  get machine(): string {
    return this.facts.machine;
  }

  get request(): JobRequest {
    return requestOf(this.facts);
  }

  /** A step is over: a job may have many thousands. Of the main one is asked until the job's end. */
  forgetStep(session: bigint): void {
    if (this.mainSteps.has(session)) return;
    this.shims.delete(session);
    this.given.delete(session);
  }

  /** For how long it has stood still on this node, in milliseconds. */
  get stoodStillMs(): number {
    return this.frozenMs + (this.frozenSinceMs === undefined ? 0 : performance.now() - this.frozenSinceMs);
  }

  /** For how long it has run in all, in milliseconds, without what it stood still here. */
  get ranMs(): number {
    const { startedAt, ranBeforeMs = 0 } = this.facts;
    return ranBeforeMs + Math.max(0, Date.now() - Date.parse(startedAt) - this.stoodStillMs);
  }

  /** Runs `work` alone: growth is asked for by every step of a job, often at the same time. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.#sizing.take(work);
  }

  /** One checkpoint of a running job at a time, most of which is a copy that growth need not wait for. */
  oneCheckpoint<T>(work: () => Promise<T>): Promise<T> {
    return this.#checkpointing.take(work);
  }

  /** Takes an event; resolves when its steps, and those of all events before it, have been carried out. */
  dispatch(event: JobEvent): Promise<void> {
    const steps = this.#advance(event);
    const work = this.#work.then(() => this.#carryOut(steps));
    this.#work = work.catch((error: unknown) => {
      this.log.error(`a step of this job failed: ${messageOf(error)}`);
    });
    return work;
  }

  #advance(event: JobEvent): readonly JobStep[] {
    const before = this.#state.phase;
    const { state, steps } = transition(this.#state, event);
    this.#state = state;
    if (before !== state.phase) {
      this.log.info(`${before} -> ${state.phase} (${event.type})`);
      const left = this.#leaving;
      this.#leaving = new AbortController();
      left.abort();
    }
    return steps;
  }

  async #carryOut(steps: readonly JobStep[]): Promise<void> {
    for (const step of steps) {
      const next = await this.#execute(this, step);
      if (next) await this.#carryOut(this.#advance(next));
    }
  }
}

export function requestOf({ key, request }: Pick<MachineFacts, 'key' | 'request'>): JobRequest {
  return {
    ...request,
    key,
    cpus: request.cpus,
    memoryBytes: request.memoryBytes,
    memorySource: request.memorySource,
    scratchBytes: request.scratchBytes,
    vm: request.vm,
    devices: undefined,
    cpuLimits: request.cpuLimits,
  };
}
