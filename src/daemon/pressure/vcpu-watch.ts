import { readdirSync, readFileSync } from 'node:fs';

import { type QemuProcess, qemuProcess } from '../../vm/qemu-process.ts';
import type { Job } from '../job.ts';

/** How often the threads are looked at: two looks in a row have to agree, and an owner shall have its CPUs within a second. */
const EVERY_MS = 250;
/** vCPUs are plugged in when a job grows. */
const THREADS_HOLD_MS = 5_000;

interface Watched {
  readonly qemu: QemuProcess;
  threads: readonly string[];
  threadsAtMs: number;
  /** That wanted a CPU in the last look, and in the one before. */
  last: number;
  before: number;
}

/**
 * How many vCPUs of each owner run or want to, by what the host's kernel says of QEMU's threads: sooner than the guest's own report, and whatever that says. Only while somebody
 * is lent something: a look costs some 10 us for each vCPU.
 */
export class VcpuWatch {
  readonly #owners: () => readonly Job[];
  readonly #wanted: () => void;
  #watched = new Map<Job, Watched | undefined>();
  #timer: NodeJS.Timeout | undefined;

  /** `wanted` is called when an owner wants more than it did a moment ago. */
  constructor(owners: () => readonly Job[], wanted: () => void) {
    this.#owners = owners;
    this.#wanted = wanted;
  }

  run(isNeeded: boolean): void {
    if (isNeeded) this.#timer ??= setInterval(() => this.#look(), EVERY_MS).unref();
    else this.stop();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#watched.clear();
  }

  /** In two looks one after the other; 0 while it is not known. */
  wantedBy(job: Job): number {
    const watched = this.#watched.get(job);
    return watched ? Math.min(watched.last, watched.before) : 0;
  }

  #look(): void {
    const nowMs = performance.now();
    const owners = this.#owners();
    for (const job of this.#watched.keys()) if (!owners.includes(job)) this.#watched.delete(job);
    let grew = false;
    for (const job of owners) {
      const watched = this.#watched.get(job);
      if (!watched) {
        this.#search(job);
        continue;
      }
      const wantedBefore = this.wantedBy(job);
      if (nowMs - watched.threadsAtMs > THREADS_HOLD_MS) {
        watched.threads = vcpuThreads(watched.qemu.pid);
        watched.threadsAtMs = nowMs;
        // Gone, or another process: looked for anew.
        if (watched.threads.length === 0) this.#watched.delete(job);
      }
      watched.before = watched.last;
      watched.last = watched.threads.filter((thread) => isRunnable(watched.qemu.pid, thread)).length;
      if (this.wantedBy(job) > wantedBefore) grew = true;
    }
    if (grew) this.#wanted();
  }

  #search(job: Job): void {
    if (this.#watched.has(job)) return;
    this.#watched.set(job, undefined);
    void qemuProcess(job.machine).then((qemu) => {
      if (qemu)
        this.#watched.set(job, {
          ...{ qemu, threads: [], threadsAtMs: Number.NEGATIVE_INFINITY, last: 0, before: 0 },
        });
      else this.#watched.delete(job);
    });
  }
}

/** QEMU names them (`CPU 0/KVM`); libvirt has it do so. */
function vcpuThreads(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`).filter((thread) =>
      read(`/proc/${pid}/task/${thread}/comm`).startsWith('CPU '),
    );
  } catch {
    return [];
  }
}

function isRunnable(pid: number, thread: string): boolean {
  const stat = read(`/proc/${pid}/task/${thread}/stat`);
  return stat[stat.lastIndexOf(')') + 2] === 'R';
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
