/** A line of what `caddis migrate` is told, the last of which is what its `--json` prints. */
export interface MigrationNews {
  readonly job: string;
  /** Of the machine on the node that the job leaves; `goes-on` at the end. */
  readonly state: string;
  readonly host?: string;
  /** `thaw`, `hand-over` or `restore`. */
  readonly how?: string;
  /** From the freeze until the job was seen to go on. */
  readonly stood_still_ms?: number;
}

/** What `caddis status --json` prints, as caddisd answers it. Field names are part of the interface: snake_case, units in the names. */
export interface NodeStatus {
  readonly host: string;
  readonly version: string;
  readonly acceleration: string;
  readonly acceleration_reason: string;
  readonly libvirt: 'up' | 'down';
  readonly image: string;
  readonly health: 'ok' | string;
  readonly uptime_seconds: number;
  readonly resident_bytes: number;
  readonly machines: readonly MachineStatus[];
}

export interface MachineStatus {
  readonly job: string;
  readonly job_name: string;
  readonly user: string;
  readonly queue: string;
  readonly incarnation: string;
  readonly machine: string;
  /** Id of the image that it was made of. */
  readonly image: string;
  readonly phase: string;
  readonly link: 'up' | 'down';
  readonly steps: number;
  readonly cpus: number | null;
  readonly memory_bytes: number | null;
  /** What was asked for: a machine that was grown has more. */
  readonly memory_asked_bytes: number | null;
  readonly memory_available_bytes: number | null;
  readonly address: string | null;
  readonly qemu_pid: number | null;
  /** `base`, or `restore` from a checkpoint. */
  readonly boot_path: string;
  /** How long this machine has stood still on this node, in all. */
  readonly frozen_ms: number;
  /** Of a save or restore that is under way. */
  readonly progress: {
    readonly what: 'saving' | 'restoring';
    readonly done_bytes: number;
    readonly total_bytes: number;
  } | null;
  readonly started_at: string;
  /** Milliseconds that each part of the start took, in order. */
  readonly start_ms: Readonly<Record<string, number>>;
}
