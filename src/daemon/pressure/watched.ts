import { History } from '../../pressure/history.ts';
import { type MachineUsage, machineUsage } from '../../pressure/machine.ts';
import type { MachineSample } from '../../pressure/sample.ts';
import { qemuProcess } from '../../vm/qemu-process.ts';
import { noteHostCpu } from '../accounting/tally.ts';
import type { Job } from '../job.ts';
import { WatchedProcess } from './read-proc.ts';

/** Two minutes: what a job's growth is judged by. */
const WATCHED_MS = 120_000;
/** While a node lends, an agent's report gives one more sample than the one a second. Some 60 KB of memory. */
const SAMPLES = 240;

/** One job's machine under watch. */
export class Watched {
  readonly job: Job;
  #process: WatchedProcess | undefined;
  #searching = false;
  #history = new History<MachineSample>(SAMPLES);

  constructor(job: Job) {
    this.job = job;
  }

  /** Takes a sample, if there is a QEMU to look at. */
  look(atMs: number): void {
    const seen = this.#process?.read();
    if (this.#process && seen) {
      noteHostCpu(this.job, this.#process.qemu, seen.cpuMs);
      this.#history.add({ atMs, ...seen, guest: this.job.report?.sample });
    } else this.#search();
  }

  close(): void {
    this.#process?.close();
    this.#process = undefined;
  }

  usage(giveBackMs: number): MachineUsage | undefined {
    return machineUsage(this.#history.last(WATCHED_MS), { giveBackMs, cpus: this.job.sizes.cpus ?? 1 });
  }

  /** A machine that was saved and restored has another process, whose numbers begin anew. */
  #search(): void {
    if (this.#process) {
      this.close();
      this.#history = new History(SAMPLES);
    }
    if (this.#searching) return;
    this.#searching = true;
    void qemuProcess(this.job.machine).then((found) => {
      this.#process = found && new WatchedProcess(found);
      this.#searching = false;
    });
  }
}
