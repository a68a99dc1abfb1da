/** What `caddis top --json` prints, as caddisd answers it. Field names are part of the interface: snake_case, units in the names; shares and pressures go from 0 to 1. */
export interface NodeTop {
  readonly host: string;
  /** How old the numbers are. */
  readonly age_ms: number;
  readonly health: 'ok' | string;
  readonly slack: ShareTop;
  /** Given to jobs that run in slack. */
  readonly lent: ShareTop;
  readonly pressure: {
    readonly memory: number;
    readonly cpu: number;
    readonly io: number;
    readonly overall: number;
  };
  /** The node itself; null where its /proc says nothing. */
  readonly node: {
    readonly memory_bytes: number;
    readonly memory_available_bytes: number;
    readonly idle_cpus: number;
    readonly stalls: StallsTop | null;
  } | null;
  readonly jobs: readonly JobTop[];
  readonly cost: CostTop;
}

export interface ShareTop {
  readonly memory_bytes: number;
  readonly cpus: number;
}

export interface StallsTop {
  readonly cpu_some: number;
  readonly cpu_full: number;
  readonly memory_some: number;
  readonly memory_full: number;
  readonly io_some: number;
  readonly io_full: number;
}

export interface JobTop {
  readonly job: string;
  readonly job_name: string;
  readonly user: string;
  readonly queue: string;
  readonly phase: string;
  readonly cpus: number;
  /** CPUs of the host in use. */
  readonly cpus_used: number | null;
  readonly memory_limit_bytes: number;
  /** Of which its request is so much; the rest was grown. */
  readonly memory_asked_bytes: number;
  /** Of that limit, what could not be had back at once; null until the agent has reported. */
  readonly memory_used_bytes: number | null;
  /** Of the host's memory, held by the machine. */
  readonly memory_resident_bytes: number | null;
  /** Used over limit: how near the job is to its wall. */
  readonly memory_pressure: number | null;
  readonly tasks_runnable: number | null;
  /** Within the machine, shares of the last second; null when its agent has not just reported. */
  readonly stalls: StallsTop | null;
  readonly oom_kills: number;
  /** Of the job's own processes, and of its QEMU; on all nodes where it ran. */
  readonly cpu_seconds: number | null;
  readonly host_cpu_seconds: number;
  /** MemAvailable of its machine. */
  readonly memory_available_bytes: number | null;
  /** The most that its processes held and could not have given back; the most in use, page cache and all. */
  readonly memory_held_peak_bytes: number | null;
  readonly memory_peak_bytes: number | null;
  readonly steps: readonly StepTop[];
}

export interface StepTop {
  readonly session: string;
  readonly cpu_seconds: number;
  readonly memory_bytes: number;
  readonly memory_peak_bytes: number;
}

/** What all this costs, since caddisd was started. */
export interface CostTop {
  readonly daemon_cpu_seconds: number;
  readonly daemon_resident_bytes: number;
  readonly samples: number;
  readonly sampling_seconds: number;
  readonly scheduler_calls: readonly {
    readonly scheduler: string;
    readonly command: string;
    readonly calls: number;
  }[];
}
