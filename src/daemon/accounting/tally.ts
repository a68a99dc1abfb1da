import { NO_USAGE } from '../../jobs/usage.ts';
import type { Usage } from '../../model/usage.ts';
import { qemuProcess } from '../../vm/qemu-process.ts';
import type { Job } from '../job.ts';
import { WatchedProcess } from '../pressure/read-proc.ts';

/** What a job's machine used so far, on all nodes: the guest's counters go with it, QEMU's are added up. */
export function usageOf(job: Job): Usage {
  const said = job.report?.used;
  const last = job.facts.used ?? NO_USAGE;
  const hostCpuMs = Math.round(job.hostCpu.beforeMs + job.hostCpu.nowMs);
  // Before the first report after a move or a restart of caddisd.
  if (!said) return { ...last, hostCpuMs: Math.max(last.hostCpuMs, hostCpuMs) };
  const [userMs, systemMs] = [said.userMicroseconds / 1000, said.systemMicroseconds / 1000];
  // An emulated guest counts the time in which the host ran somebody else: what its QEMU had is the truth, once that was seen.
  const seenMs =
    hostCpuMs > 0 ? Math.max(0, hostCpuMs - (job.facts.bootCpuMs ?? 0)) : Number.POSITIVE_INFINITY;
  const share = Math.min(1, seenMs / Math.max(userMs + systemMs, 1));
  return {
    userMs: Math.round(userMs * share),
    systemMs: Math.round(systemMs * share),
    heldPeakBytes: said.heldPeakBytes,
    memoryPeakBytes: said.memoryPeakBytes,
    hostCpuMs,
  };
}

/** Takes a look at the CPU time of a machine's QEMU. One with another start time is another process: what was used until then is kept. */
export function noteHostCpu(job: Job, qemu: { readonly startTicks: string }, cpuMs: number): void {
  const { startTicks, beforeMs, nowMs } = job.hostCpu;
  const isAnother = startTicks !== undefined && startTicks !== qemu.startTicks;
  job.hostCpu = {
    startTicks: qemu.startTicks,
    beforeMs: isAnother ? beforeMs + nowMs : beforeMs,
    nowMs: cpuMs,
  };
}

/** The last look, before QEMU ends. */
export async function lookAtHostCpu(job: Job): Promise<void> {
  const qemu = await qemuProcess(job.machine);
  if (!qemu) return;
  const process = new WatchedProcess(qemu);
  const seen = process.read();
  process.close();
  if (seen) noteHostCpu(job, qemu, seen.cpuMs);
}
