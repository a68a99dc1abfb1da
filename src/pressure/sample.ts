import type { Stalls } from './psi.ts';

/** One look at a machine. Times are the monotonic clock's, in milliseconds. */
export interface MachineSample {
  readonly atMs: number;
  /** Of the host's memory, held by QEMU: a page that the guest has freed counts until it was given back. */
  readonly residentBytes: number;
  /** CPU time of QEMU since its start, all threads. */
  readonly cpuMs: number;
  /** The agent's last report; undefined before the first. */
  readonly guest: GuestSample | undefined;
}

export interface GuestSample {
  /** When it arrived. */
  readonly atMs: number;
  readonly availableBytes: number;
  readonly totalBytes: number;
  readonly runnableTasks: number;
  /** Microseconds since the guest's boot. */
  readonly stalls: Stalls | undefined;
  readonly oomKills: number;
  /** How the job stands to its limits; undefined: its agent is an older one. */
  readonly job?:
    | {
        readonly heldBytes: number;
        readonly wallBytes: number | undefined;
        readonly markBytes: number | undefined;
      }
    | undefined;
}

export interface HostSample {
  readonly atMs: number;
  readonly totalBytes: number;
  readonly availableBytes: number;
  /** Of all CPUs together, since boot. */
  readonly idleMs: number;
  /** Microseconds since boot; undefined: the kernel has no PSI. */
  readonly stalls: Stalls | undefined;
}
