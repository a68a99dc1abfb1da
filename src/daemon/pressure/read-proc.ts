import { readFileSync } from 'node:fs';

import { parseIdleMs, parseMeminfo, parseProcessStat, parseStatm } from '../../pressure/proc.ts';
import { parsePsi } from '../../pressure/psi.ts';
import type { HostSample } from '../../pressure/sample.ts';
import type { QemuProcess } from '../../vm/qemu-process.ts';

// Read in place: these files come from memory in some 10 us, a thread's turn costs ten times that, and a node has dozens of machines each second.

/** What QEMU takes of the host; undefined when it is gone. */
export function readProcess(
  qemu: QemuProcess,
): { readonly residentBytes: number; readonly cpuMs: number } | undefined {
  const stat = parseProcessStat(read(`/proc/${qemu.pid}/stat`));
  if (stat?.startTicks !== qemu.startTicks) return undefined;
  return { cpuMs: stat.cpuMs, residentBytes: parseStatm(read(`/proc/${qemu.pid}/statm`)) };
}

/** `atMs`: the monotonic clock now. Undefined where /proc does not say how much memory there is. */
export function readHost(atMs: number): HostSample | undefined {
  const memory = parseMeminfo(read('/proc/meminfo'));
  if (memory.totalBytes === 0) return undefined;
  const stalls = ['cpu', 'memory', 'io'].flatMap((resource) =>
    read(`/proc/pressure/${resource}`)
      .split('\n')
      .map((line) => `${resource} ${line}`),
  );
  return { atMs, ...memory, idleMs: parseIdleMs(read('/proc/stat')), stalls: parsePsi(stalls) };
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
