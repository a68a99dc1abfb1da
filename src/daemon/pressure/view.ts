import type { GuestPressure } from '../../guest/protocol/machine-documents.ts';
import type { NodeReport } from '../../model/node-report.ts';
import type { MachineUsage } from '../../pressure/machine.ts';
import type { NodeLoad } from '../../pressure/node.ts';
import type { Stalls } from '../../pressure/psi.ts';
import type { GuestSample, HostSample } from '../../pressure/sample.ts';
import type { Job } from '../job.ts';

/** What the last look at the node gave: the same numbers for the scheduler, `caddis top` and the metrics. */
export interface NodeView {
  /** Monotonic. */
  readonly atMs: number;
  readonly report: NodeReport;
  /** What the report was made of; its jobs are in the order of `jobs`. */
  readonly load: NodeLoad;
  readonly host: HostView | undefined;
  readonly jobs: readonly JobView[];
  /** Looks so far, and the time that they took before this one. */
  readonly cost: { readonly samples: number; readonly ms: number };
}

export interface HostView {
  readonly sample: HostSample;
  readonly idleCpus: number;
  /** Shares of the last second. */
  readonly stalls: Stalls | undefined;
}

export interface JobView {
  readonly job: Job;
  readonly usage: MachineUsage | undefined;
  readonly guest: GuestSample | undefined;
  readonly steps: GuestPressure['sessions'];
}
