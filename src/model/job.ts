/** What every part says about a job. This file is a leaf: it imports nothing. */

export type SchedulerName = 'slurm' | 'gridengine';

/** One schedulable task: a Slurm job (an array task has a job id of its own) or one Grid Engine array task. */
export interface JobKey {
  readonly scheduler: SchedulerName;
  /** Slurm: SLURM_JOB_ID (the raw id of this very task). Grid Engine: JOB_ID. */
  readonly jobId: string;
  /** Grid Engine task number, `1` for a job that is no array. Always `0` for Slurm. */
  readonly task: string;
}

/** `slurm-17`, `gridengine-12.1`: the name of the job's runtime directory. */
export function formatKey(key: JobKey): string {
  return key.scheduler === 'slurm' ? `slurm-${key.jobId}` : `gridengine-${key.jobId}.${key.task}`;
}

/** Inverse of formatKey; undefined for anything else. */
export function parseKey(text: string): JobKey | undefined {
  const slurm = /^slurm-(\d+)$/.exec(text);
  if (slurm) return { scheduler: 'slurm', jobId: slurm[1] as string, task: '0' };
  const sge = /^gridengine-(\d+)\.(\d+)$/.exec(text);
  if (sge) return { scheduler: 'gridengine', jobId: sge[1] as string, task: sge[2] as string };
  return undefined;
}

export interface Rlimit {
  readonly resource: number;
  /** Bytes, seconds or counts as setrlimit(2) says; 2n ** 64n - 1n is unlimited. */
  readonly soft: bigint;
  readonly hard: bigint;
}

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
  readonly xPixels: number;
  readonly yPixels: number;
}

export interface StdioDescriptor {
  readonly fd: number;
  readonly mode: bigint;
  readonly device: bigint;
  readonly inode: bigint;
}

/** One call of caddis-hook, parsed from its OPEN document. uid, gid and pid are checked against SO_PEERCRED-like facts by the server. */
export interface HookCall {
  readonly verb: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly umask: number;
  readonly rlimits: readonly Rlimit[];
  /** Host CPU numbers the caller may run on. */
  readonly cpus: readonly number[];
  readonly pid: number;
  readonly nice: number;
  readonly stdio: readonly StdioDescriptor[];
  readonly terminal: TerminalSize | undefined;
  readonly termios: Buffer | undefined;
  /** Set when the client comes back to a session that it already has. */
  readonly session: bigint | undefined;
}

/** What a job asked for, as far as its prolog knows. Undefined: not known yet, ask the step or the controller. */
export interface JobRequest {
  readonly key: JobKey;
  /** How often this job was started before, as the scheduler counts; 0 the first time. */
  readonly restartCount: number;
  readonly user: string;
  readonly uid: number;
  readonly gid: number;
  readonly cpus: number | undefined;
  readonly memoryBytes: number | undefined;
  /** How the memory was asked for, for messages: `--mem=512M`, `h_vmem=2G`. */
  readonly memorySource: string | undefined;
  readonly scratchBytes: number | undefined;
  /** Partition (Slurm) or queue (Grid Engine). */
  readonly queue: string;
  /** What the user asked with --vm; undefined = nothing. */
  readonly vm: 'on' | 'off' | undefined;
  /** Devices of the host that the job was given, in its own words (`SLURM_JOB_GPUS=0`, `-l gpu=1`): no machine has them. */
  readonly devices: string | undefined;
  /** How often the user wants it saved while it runs, in milliseconds (--vm-checkpoint); undefined: the site's interval. */
  readonly checkpointMs?: number | undefined;
  /** On how many hosts the job runs: each has a machine of its own. */
  readonly hosts: number;
  /** False for salloc, srun, --no-requeue, Grid Engine interactive jobs. */
  readonly requeueable: boolean;
  /** On the CPU time of all its processes, in milliseconds, where the scheduler's own watch sees but an idle client. */
  readonly cpuLimits?:
    | { readonly softMs?: number | undefined; readonly hardMs?: number | undefined }
    | undefined;
  readonly jobName: string;
  readonly workDir: string;
}

/** What a job's machine has. */
export interface MachineSize {
  readonly memoryBytes: number;
  readonly cpus: number;
}

/** What a scheduler meant by a signal that can be more than one thing: a job's machine is frozen first, then this is asked. */
export type Verdict =
  /** A user's or a limit's: the processes get it. */
  | 'deliver'
  /** The job is suspended: its machine stands still. */
  | 'suspended'
  /** The job goes back to the queue: its machine is saved. */
  | 'requeued';

/** What the scheduler's own step process knows and the prolog does not (SPANK in slurmstepd). */
export interface JobFacts {
  readonly key: JobKey;
  readonly memoryBytes: number | undefined;
  readonly cpus: number | undefined;
  /** The job's first step on this node, which finds neither a machine nor a reason why there is none. */
  readonly unheralded: Pick<JobRequest, 'vm'> | undefined;
}

/** How to start one step in the guest, worked out from the hook call by the scheduler's adapter. */
export interface StepPlan {
  /** What the step is called by its scheduler: `batch`, `0`, `interactive`, `petask 2`. */
  readonly name: string;
  readonly argv: readonly string[];
  /** Program to execute if it differs from argv[0]. */
  readonly program: string | undefined;
  /**
   * Look the program up in PATH of `env`: true as execvp does; `first` as slurmstepd does: the first that is there, which becomes argv[0], and no shell for a
   * script without `#!`.
   */
  readonly pathSearch: boolean | 'first';
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Where to start when the guest cannot go to `cwd`, and what the complaint in the step's stderr begins with; undefined: not to start. */
  readonly cwdElse?: { readonly directory: string; readonly complaintPrefix: string } | undefined;
  /** Files of the host that must exist in the guest before the start (scripts in the scheduler's spool); read by caddisd after checking the owner. */
  readonly carry: readonly { readonly path: string; readonly mode: number; readonly uid: number }[];
  /** Directories that the scheduler made for the job on the host and the guest has not: made there before the start, with the user's own rights. */
  readonly directories?: readonly string[];
}
