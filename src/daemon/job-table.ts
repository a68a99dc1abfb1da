import { formatKey, type JobKey } from '../model/job.ts';
import type { Job } from './job.ts';

/** The jobs that this node holds, by machine; one job may have several incarnations for a while. */
export class JobTable {
  readonly #byMachine = new Map<string, Job>();

  add(job: Job): void {
    this.#byMachine.set(job.machine, job);
  }

  remove(job: Job): void {
    // A job that goes on here has its machine's name again.
    if (this.#byMachine.get(job.machine) === job) this.#byMachine.delete(job.machine);
  }

  byMachine(machine: string): Job | undefined {
    return this.#byMachine.get(machine);
  }

  all(): Job[] {
    return [...this.#byMachine.values()];
  }

  ofKey(key: JobKey): Job[] {
    const name = formatKey(key);
    return this.all().filter((job) => formatKey(job.key) === name);
  }

  /** The newest incarnation: insertion order is start order. */
  current(key: JobKey): Job | undefined {
    return this.ofKey(key).at(-1);
  }
}
