import type { Config } from '../config/schema.ts';
import type { JobEvent, JobStep } from '../jobs/transitions.ts';
import type { JobKey, SchedulerName } from '../model/job.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import type { Accounts } from './accounting/accounts.ts';
import type { SchedulerCalls } from './accounting/scheduler-calls.ts';
import type { NodeHealth } from './health.ts';
import type { Job } from './job.ts';
import type { JobTable } from './job-table.ts';
import type { Log } from './log.ts';
import type { Deeds } from './pressure/deeds.ts';
import type { GiveBack } from './pressure/give-back.ts';
import type { SaveSpeed } from './pressure/save-speed.ts';
import type { NodeView } from './pressure/view.ts';
import type { NodeContext } from './start-machine.ts';

/** The node as caddisd's parts see it: verbs, adoption and the executor work on this, `Daemon` is it. */
export interface Node {
  readonly config: Config;
  readonly log: Log;
  readonly jobs: JobTable;
  readonly schedulers: ReadonlyMap<SchedulerName, Scheduler>;
  readonly health: NodeHealth;
  readonly accounts: Accounts;
  readonly schedulerCalls: SchedulerCalls;
  readonly version: string;
  readonly imageId: string;
  readonly accelerationReason: string;
  /** What the last look at machines and host gave; undefined before the first. */
  readonly view: NodeView | undefined;
  /** What saves move in a second. */
  readonly saves: SaveSpeed;
  /** What was done to jobs for the sake of others, and why. */
  readonly deeds: Deeds;
  readonly giveBack: GiveBack;
  /** Bytes that could be lent at this moment; undefined: no recent look tells. */
  readonly lendableBytes: number | undefined;
  /** What starts have in common. Throws CaddisError while caddisd is still starting. */
  readonly context: NodeContext;
  /** Why no machine can be made now whatever the job, if so. A start of caddisd is waited for. */
  trouble(signal: AbortSignal): Promise<string | undefined>;
  /** Resolves when machines were taken over, or with false after a bound that a hook can wait. */
  isReady(signal: AbortSignal): Promise<boolean>;
  execute(job: Job, step: JobStep): Promise<JobEvent | undefined>;
  /** Removes what the store has of a job, once its scheduler has had time to say whether it runs again. */
  discardLater(key: JobKey, scheduler: Scheduler): void;
  openStepSocket(job: Job): Promise<void>;
  closeStepSocket(job: Job): void;
}
