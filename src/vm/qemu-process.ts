import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface QemuProcess {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: tells this process from a later one with the same pid. */
  readonly startTicks: string;
}

/** Finds a machine's QEMU by the pid file that libvirt keeps, checked against the process's command line. Undefined when it is not there. */
export async function qemuProcess(
  machine: string,
  pidDir = '/run/libvirt/qemu',
): Promise<QemuProcess | undefined> {
  const pid = Number((await readFile(join(pidDir, `${machine}.pid`), 'utf8').catch(() => '')).trim());
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  if (!commandLine.includes(machine) || startTicks === undefined) return undefined;
  return { pid, startTicks };
}

/** Memory of the host that a process holds, in bytes; 0 when it is gone. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

/** Kills a QEMU of ours if it is still the same process. */
export async function killQemu(qemu: QemuProcess): Promise<void> {
  const stat = await readFile(`/proc/${qemu.pid}/stat`, 'utf8').catch(() => '');
  if (stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] !== qemu.startTicks) return;
  try {
    process.kill(qemu.pid, 'SIGKILL');
  } catch (error) {
    // It ended between the two lines.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
