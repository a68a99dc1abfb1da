import type { HookCall, JobFacts, JobKey, JobRequest, MachineSize, StepPlan, Verdict } from '../model/job.ts';
import type { NodeReport } from '../model/node-report.ts';
import type { EndedJob, Usage } from '../model/usage.ts';
import type { RelayRule } from './relay.ts';

/** What a hook client is told to print and with which status to exit. */
export interface HookAnswer {
  readonly exitCode: number;
  /** For the user's output: only what the user must know. */
  readonly stderr?: string;
}

/**
 * One batch system, seen through its hooks. An adapter reads environments and command output and runs the scheduler's own commands;
 * it drives no machine. Nothing outside `scheduler/slurm` and `scheduler/gridengine` knows which one it serves.
 */
export interface Scheduler {
  /** Reads a prolog's environment. Throws BadHookCall naming the variable that is missing or malformed. */
  readProlog(call: HookCall): JobRequest;
  /** Reads an epilog's environment: which job, and whether the scheduler will run it again. */
  readEpilog(
    call: HookCall,
    restartsAtProlog: (key: JobKey) => number | undefined,
  ): { readonly key: JobKey; readonly requeued: boolean };
  /** The `facts` verb (SPANK). */
  readFacts(call: HookCall): JobFacts;
  /**
   * What the prolog of a job that is about to run its first step here would have been told, where a scheduler may leave it out. Undefined: it ran, and its answer stands, or the
   * job is over. Throws SchedulerUnavailable, also in doubt.
   */
  readonly withoutProlog?: (
    key: JobKey,
    said: NonNullable<JobFacts['unheralded']>,
    signal: AbortSignal,
  ) => Promise<JobRequest | undefined>;
  /** Reads an `exec` call: how to start this step in the guest. */
  readStep(call: HookCall): StepPlan;
  /**
   * What this scheduler tells a user whose program could not be started, and the step's exit status; `message` is `execve(): PATH: reason`. Absent: as shells do,
   * 127 or 126.
   */
  readonly sayNotStarted?: (failure: { readonly errno: number; readonly message: string }) => {
    readonly message: string;
    readonly status: number;
  };
  /** Does the scheduler mean this signal for the main process of that step alone? Its shim sees no difference. Absent: never. */
  readonly isForMainOnly?: (step: string, signal: number) => boolean;
  /**
   * Asks the controller what the prolog's environment does not say. At most one query per job start, after a random delay of up to `jitterMs`.
   * Throws SchedulerUnavailable when there is no answer before `signal` aborts.
   */
  complete(request: JobRequest, options: { jitterMs: number; signal: AbortSignal }): Promise<JobRequest>;
  /**
   * Puts this very task back into the queue (or, if it cannot be requeued, fails it) with a reason an admin understands, and says how the
   * prolog must answer so that no node is drained, no queue goes into E and no job is held.
   */
  refuse(request: JobRequest, reason: string, signal: AbortSignal): Promise<HookAnswer>;
  /**
   * The same for a job that was to run in slack which is gone: it did nothing wrong, waits for the next slack, on whatever node, and its user finds the reason with the
   * scheduler. What this node can lend is told anew, as soon as its rate limit allows.
   */
  sendBack(request: JobRequest, reason: string, signal: AbortSignal): Promise<HookAnswer>;
  /** Keeps this task from starting, with a reason that its user finds, until somebody has changed its request; and says how the prolog must answer. */
  hold(request: JobRequest, reason: string, signal: AbortSignal): Promise<HookAnswer>;
  /** Lets this task fail with a reason that its user reads in its output (policy.on_unavailable = "fail"), and says how the prolog must answer. */
  fail(request: JobRequest, reason: string): Promise<HookAnswer>;
  /** Requeues or fails a job whose machine was lost while it ran. Returns how the job's steps should end. */
  lost(request: JobRequest, reason: string, signal: AbortSignal): Promise<'requeued' | 'failing'>;
  /**
   * Puts what a run of the job really used where the scheduler's own accounting reads it, while its epilog waits. Absent: the scheduler takes it only later.
   */
  readonly writeUsage?: (key: JobKey, run: Usage) => Promise<void>;
  /**
   * Tells the scheduler's accounting what a job that has ended used in all its runs. Throws SchedulerUnavailable while that has not heard of the end itself, or does not
   * answer: asked again later, until the job is forgotten. Absent: it was told by `writeUsage`.
   */
  readonly reportUsage?: (ended: EndedJob, key: JobKey, signal: AbortSignal) => Promise<void>;
  /** How a user of this scheduler asks for so much memory, in the option that was used before (`source`, as in JobRequest): `--mem=300M`. */
  askMemory(bytes: number, source: string | undefined, cpus: number): string;
  /** The same for CPUs. */
  askCpus(cpus: number): string;
  /** Is this job still known as running on this node? Undefined: no answer. Used after a restart of caddisd to find orphans. */
  isRunning(key: JobKey, signal: AbortSignal): Promise<boolean | undefined>;
  /** What a step's client ends with when its job goes on elsewhere: a status by which the scheduler starts the job again, where it has one. */
  readonly movedExitStatus: number;
  /** With which a job's own main process asks to be run again, from its beginning. Absent: there is no such status. */
  readonly rerunExitStatus?: number;
  /**
   * Puts a running job back into the queue, so that its state is saved on the way: for admins. `by-signal`: the scheduler's own signals will reach the shims. `by-exit`:
   * letting the shims go does it.
   */
  requeue(request: JobRequest, signal: AbortSignal): Promise<'by-signal' | 'by-exit'>;
  /** By which an admin has a job start on one host alone. */
  readonly placement: Placement;
  /** Notes, where users and admins look, how large the machine of a job that runs has become; undefined: it is what was asked for. Rejects with what its command says. */
  noteSize(request: JobRequest, size: MachineSize | undefined, signal: AbortSignal): Promise<void>;
  /** Asks for more memory in a job's name. */
  readonly raise: {
    /** Why that cannot be, if so: this job, or its site, is not made for it. Rejects when the controller does not say. */
    obstacle(request: JobRequest, signal: AbortSignal): Promise<string | undefined>;
    /** Keeps a task that runs from starting again before it has been asked for more, where its scheduler would be quicker. Until `release`. */
    hold(request: JobRequest, signal: AbortSignal): Promise<void>;
    /** In place of what was asked for, once the task waits: until then it is waited for, until `signal` aborts. Rejects with what the command says. */
    memory(request: JobRequest, bytes: number, signal: AbortSignal): Promise<void>;
    /** Idempotent. Resolves for a job that is gone. */
    release(request: JobRequest, signal: AbortSignal): Promise<void>;
  };
  /**
   * The limit on this run of a job, and what is left of it; undefined: there is none. `startedAtMs`: when its prolog ran, for schedulers that count from there. Throws
   * SchedulerUnavailable.
   */
  timeLeft(
    request: JobRequest,
    startedAtMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly limitMs: number; readonly leftMs: number } | undefined>;
  /** Makes this run's limit longer, or shorter, by whole minutes. Throws what its command says. Absent: a limit stands once the job runs. */
  readonly changeLimit?: (request: JobRequest, minutes: number, signal: AbortSignal) => Promise<void>;
  /** True where a job that starts again finds its output files empty, unless its user asked to append. */
  readonly truncatesOutput: boolean;
  /** Signals at a shim that may mean that the whole job is suspended, goes on, or goes back to the queue. Empty where the scheduler has methods for that. */
  readonly ambiguousSignals: ReadonlySet<number>;
  /**
   * What such a signal (its number; 0: a machine was found standing still) meant; one query where that decides. Throws SchedulerUnavailable when there is no answer before
   * `signal` aborts.
   */
  meaning(request: JobRequest, number: number, signal: AbortSignal): Promise<Verdict>;
  /** The scheduler's own priority of a job: of two, the one with the lower number gives way. Undefined: it did not say. */
  priority(key: JobKey, signal: AbortSignal): Promise<number | undefined>;
  /** Does or will this job run, on whatever node? Undefined: no answer. What nobody will run again needs no checkpoint. */
  isWanted(key: JobKey, signal: AbortSignal): Promise<boolean | undefined>;
  /** Spares a job whose state was saved the wait that the scheduler puts before another start. */
  beginAgain(key: JobKey, signal: AbortSignal): Promise<void>;
  /** Takes this node out of service by name (`caddis: reason`), or puts it back if we took it out. Idempotent, rate limited by the caller. */
  setNodeHealth(health: { ok: true } | { ok: false; reason: string }, signal: AbortSignal): Promise<void>;
  /**
   * Tells the scheduler what this node could lend and how hard it is pressed, in its own terms. Asked once a second, never twice at a time; the adapter decides when a
   * controller hears of it. Rejects with what went wrong; the next call tries again.
   */
  publish(report: NodeReport, signal: AbortSignal): Promise<void>;
  /** Commands that are relayed when they are called inside a job. */
  readonly relayCommands: readonly string[];
  /** Rules for one of them; argv[0] is the command's bare name, `env` the caller's. */
  relayRule(argv: readonly string[], env: Readonly<Record<string, string>>): RelayRule;
  /** Directories of the host's spool from which scripts may be carried into the guest. */
  readonly spoolDirs: readonly string[];
}

/** On which hosts the scheduler may start a task. Texts are the scheduler's own. All reject with CaddisError or SchedulerUnavailable. */
export interface Placement {
  /** When `bind` and `restore` are taken: while the task runs, before it is put back; or once it waits, which they wait for until `signal` aborts. */
  readonly when: 'running' | 'pending';
  /** Throws CaddisError when the task cannot start on that host, or is there already. */
  check(request: JobRequest, host: string, signal: AbortSignal): Promise<void>;
  /** What the scheduler has been told so far. */
  current(key: JobKey, signal: AbortSignal): Promise<string>;
  bind(key: JobKey, host: string, before: string, signal: AbortSignal): Promise<void>;
  restore(key: JobKey, before: string, signal: AbortSignal): Promise<void>;
}

/** A hook said something we cannot use; `message` names the variable and the value. */
export class BadHookCall extends Error {
  override name = 'BadHookCall';
}

/** The scheduler's controller gave no answer in time. */
export class SchedulerUnavailable extends Error {
  override name = 'SchedulerUnavailable';
}
