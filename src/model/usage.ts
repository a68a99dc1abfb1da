/** What a job's machine used. This file is a leaf: it imports nothing. */
export interface Usage {
  /** CPU time of the job's own processes, as its guest counts it, since the job's first start. */
  readonly userMs: number;
  readonly systemMs: number;
  /** The most that its processes held and could not have given back (anon, shmem, kernel), as far as samples show. */
  readonly heldPeakBytes: number;
  /** The most that it had in use, page cache and all: memory.peak of the job's cgroup. */
  readonly memoryPeakBytes: number;
  /** CPU time of QEMU: the job's, and what the machine itself costs. */
  readonly hostCpuMs: number;
}

/** A job that is over, in the words that `caddis advise --json` prints: snake_case, units in the names. */
export interface EndedJob {
  readonly job: string;
  readonly job_name: string;
  readonly user: string;
  readonly uid: number;
  readonly queue: string;
  readonly ended_at: string;
  /** Of all runs together, without what it stood still. */
  readonly wall_seconds: number;
  readonly cpus: number;
  readonly cpu_seconds: number;
  /** Of its CPUs, while it ran: 0 to 1. */
  readonly cpu_efficiency: number;
  readonly host_cpu_seconds: number;
  /** What it could use. */
  readonly memory_limit_bytes: number;
  /** In the user's words: `--mem=2G`; null: not asked for. */
  readonly memory_asked: string | null;
  readonly memory_held_peak_bytes: number;
  readonly memory_peak_bytes: number;
  readonly oom_kills: number;
}

/** With what to ask for next time. */
export interface AdvisedJob extends EndedJob {
  readonly ask_memory_bytes: number;
  readonly ask_cpus: number;
  /** As options of its scheduler: `--mem=300M -c 2`. */
  readonly ask: string;
}
