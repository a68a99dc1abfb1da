import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { NodeReport } from '../../model/node-report.ts';

/** Where the load sensor (hooks/client/sensor.c) finds them. See docs/decisions/0040-load-sensor-reads-a-file.md. */
const LOAD_FILE = 'gridengine.load';

/**
 * The complex values of hooks/gridengine/complexes as the sensor reads them: a line each, `end` last. The sensor believes them for as long as `monotonicMs` (CLOCK_MONOTONIC) of
 * this boot is recent.
 */
export function loadText(report: NodeReport, clock: { bootId: string; monotonicMs: bigint }): string {
  const { slack, pressure } = report;
  const lines: [string, string][] = [
    ['boot', clock.bootId],
    ['monotonic_ms', clock.monotonicMs.toString()],
    ['vm_ok', report.ok ? '1' : '0'],
    ['vm_jobs', String(report.jobs)],
    ['vm_mem_slack', String(Math.floor(slack.memoryBytes))],
    ['vm_cpu_slack', slack.cpus.toFixed(2)],
    ['vm_mem_pressure', pressure.memory.toFixed(3)],
    ['vm_cpu_pressure', pressure.cpu.toFixed(3)],
    ['vm_io_pressure', pressure.io.toFixed(3)],
    ['vm_pressure', pressure.overall.toFixed(3)],
  ];
  return `${lines.map(([name, value]) => `${name} ${value}\n`).join('')}end\n`;
}

/** Gives a function that puts a report in place for the sensor, whole or not at all. */
export function createPublish(runDir: string): (report: NodeReport) => Promise<void> {
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  const path = join(runDir, LOAD_FILE);
  return async (report) => {
    const monotonicMs = process.hrtime.bigint() / 1_000_000n;
    // In place: /run is memory, and a turn of a thread costs more than the writing.
    writeFileSync(`${path}.new`, loadText(report, { bootId, monotonicMs }), { mode: 0o644 });
    renameSync(`${path}.new`, path);
  };
}
