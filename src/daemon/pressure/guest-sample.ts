import type { GuestPressure } from '../../guest/protocol/machine-documents.ts';
import { parseRunnable } from '../../pressure/proc.ts';
import { parsePsi } from '../../pressure/psi.ts';
import type { GuestSample } from '../../pressure/sample.ts';

/** The agent's report as a sample; undefined when it lacks the memory, as that of a guest which lies. */
export function guestSample(report: GuestPressure, atMs: number): GuestSample | undefined {
  const { memAvailableBytes, memTotalBytes, loadAverage } = report;
  if (memAvailableBytes === undefined || memTotalBytes === undefined) return undefined;
  return {
    atMs,
    availableBytes: memAvailableBytes,
    totalBytes: memTotalBytes,
    runnableTasks: parseRunnable(loadAverage ?? ''),
    stalls: parsePsi(report.psi),
    oomKills: report.oomKills,
    job: report.walls,
  };
}
