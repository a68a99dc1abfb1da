import { join } from 'node:path';

import type { JobKey, SchedulerName } from '../../model/job.ts';
import type { EndedJob } from '../../model/usage.ts';
import type { Scheduler } from '../../scheduler/scheduler.ts';
import type { Log } from '../log.ts';
import { EndedJobs } from './ended-jobs.ts';
import { Outbox } from './outbox.ts';

/** What this node knows of jobs that are over: a record for their users, and what their schedulers are still to be told. */
export class Accounts {
  readonly jobs: EndedJobs;
  readonly #outbox: Outbox;
  readonly #onEnded: (uid: number) => void;

  constructor(options: {
    readonly stateDir: string;
    readonly keep: number;
    readonly log: Log;
    readonly schedulers: ReadonlyMap<SchedulerName, Scheduler>;
    /** Told of each job that has ended, with its user. */
    readonly ended: (uid: number) => void;
  }) {
    this.#onEnded = options.ended;
    this.jobs = new EndedJobs(join(options.stateDir, 'ended-jobs.jsonl'), options.keep);
    this.#outbox = new Outbox(join(options.stateDir, 'usage-to-report'), options);
  }

  start(): void {
    this.#outbox.start();
  }

  stop(): void {
    this.#outbox.stop();
  }

  async ended(key: JobKey, job: EndedJob): Promise<void> {
    await Promise.all([this.jobs.add(job), this.#outbox.add(key, job)]);
    this.#onEnded(job.uid);
  }
}
