import { messageOf } from '../../model/errors.ts';
import type { NodeReport } from '../../model/node-report.ts';
import type { Scheduler } from '../../scheduler/scheduler.ts';
import type { Log } from '../log.ts';

/** A controller that is away answers nothing for longer than this; the next report is asked for by then. */
const PUBLISH_MS = 30_000;

/** Carries the node's reports to one scheduler: the newest one, and never two at a time. */
export class Feed {
  readonly #name: string;
  readonly #scheduler: Scheduler;
  readonly #log: Log;
  #isBusy = false;
  /** Said once, not each second. */
  #trouble: string | undefined;

  constructor(name: string, scheduler: Scheduler, log: Log) {
    this.#name = name;
    this.#scheduler = scheduler;
    this.#log = log;
  }

  offer(report: NodeReport): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#scheduler
      .publish(report, AbortSignal.timeout(PUBLISH_MS))
      .then(
        () => {
          if (this.#trouble !== undefined) this.#log.info(`${this.#name} is told about this node again`);
          this.#trouble = undefined;
        },
        (error: unknown) => {
          const trouble = messageOf(error);
          if (trouble !== this.#trouble)
            this.#log.warn(`could not tell ${this.#name} about slack and pressure: ${trouble}`);
          this.#trouble = trouble;
        },
      )
      .finally(() => {
        this.#isBusy = false;
      });
  }
}
