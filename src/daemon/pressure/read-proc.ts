import { parseIdleMs, parseMeminfo, parseProcessStat } from '../../pressure/proc.ts';
import { parsePsi } from '../../pressure/psi.ts';
import type { HostSample } from '../../pressure/sample.ts';
import type { QemuProcess } from '../../vm/qemu-process.ts';
import { ProcFile } from './proc-file.ts';

/** A QEMU under watch. */
export class WatchedProcess {
  readonly qemu: QemuProcess;
  readonly #stat: ProcFile;

  constructor(qemu: QemuProcess) {
    this.qemu = qemu;
    this.#stat = new ProcFile(`/proc/${qemu.pid}/stat`);
  }

  /** What it takes of the host; undefined when it is gone. */
  read(): { readonly residentBytes: number; readonly cpuMs: number } | undefined {
    const stat = parseProcessStat(this.#stat.read());
    if (stat?.startTicks !== this.qemu.startTicks) return undefined;
    return { cpuMs: stat.cpuMs, residentBytes: stat.residentBytes };
  }

  close(): void {
    this.#stat.close();
  }
}

/** The host's own numbers. */
export class WatchedHost {
  readonly #meminfo = new ProcFile('/proc/meminfo');
  readonly #stat = new ProcFile('/proc/stat');
  readonly #stalls = ['cpu', 'memory', 'io'].map((resource) => ({
    resource,
    file: new ProcFile(`/proc/pressure/${resource}`),
  }));

  /** `atMs`: the monotonic clock now. Undefined where /proc does not say how much memory there is. */
  read(atMs: number): HostSample | undefined {
    const memory = parseMeminfo(this.#meminfo.read());
    if (memory.totalBytes === 0) return undefined;
    const stalls = this.#stalls.flatMap(({ resource, file }) =>
      file
        .read()
        .split('\n')
        .map((line) => `${resource} ${line}`),
    );
    return { atMs, ...memory, idleMs: parseIdleMs(this.#stat.read()), stalls: parsePsi(stalls) };
  }

  close(): void {
    for (const file of [this.#meminfo, this.#stat, ...this.#stalls.map(({ file }) => file)]) file.close();
  }
}
