import { History } from '../../pressure/history.ts';
import { type MachineUsage, machineUsage } from '../../pressure/machine.ts';
import type { MachineSample } from '../../pressure/sample.ts';
import { type QemuProcess, qemuProcess } from '../../vm/qemu-process.ts';
import { noteHostCpu } from '../accounting/tally.ts';
import type { Job } from '../job.ts';
import { readProcess } from './read-proc.ts';

/** Two minutes at a sample a second: what a job's growth is judged by, some 30 KB of memory. */
const SAMPLES = 120;

/** One job's machine under watch. */
export class Watched {
  readonly job: Job;
  #qemu: QemuProcess | undefined;
  #searching = false;
  #history = new History<MachineSample>(SAMPLES);

  constructor(job: Job) {
    this.job = job;
  }

  /** Takes a sample, if there is a QEMU to look at. */
  look(atMs: number): void {
    const qemu = this.#qemu;
    const process = qemu && readProcess(qemu);
    if (process) {
      noteHostCpu(this.job, qemu, process.cpuMs);
      this.#history.add({ atMs, ...process, guest: this.job.report?.sample });
    } else this.#search();
  }

  usage(giveBackMs: number): MachineUsage | undefined {
    return machineUsage(this.#history.all(), { giveBackMs, cpus: this.job.sizes.cpus ?? 1 });
  }

  /** A machine that was saved and restored has another process, whose numbers begin anew. */
  #search(): void {
    if (this.#qemu) {
      this.#qemu = undefined;
      this.#history = new History(SAMPLES);
    }
    if (this.#searching) return;
    this.#searching = true;
    void qemuProcess(this.job.machine).then((found) => {
      this.#qemu = found;
      this.#searching = false;
    });
  }
}
