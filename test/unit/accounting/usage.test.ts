import { describe, expect, it } from 'vitest';

import { cpusToAsk, memoryToAsk } from '../../../src/jobs/advice.ts';
import { cpuLimitReached, limitedCpuMs, usageSince } from '../../../src/jobs/usage.ts';
import { sizeText } from '../../../src/model/units.ts';
import type { EndedJob, Usage } from '../../../src/model/usage.ts';
import { askMemory as askGridEngine } from '../../../src/scheduler/gridengine/ask-memory.ts';
import { parseSpoolConfig } from '../../../src/scheduler/gridengine/spool-config.ts';
import { withUsage } from '../../../src/scheduler/gridengine/write-usage.ts';
import { askMemory as askSlurm } from '../../../src/scheduler/slurm/ask-memory.ts';

const MiB = 1024 * 1024;
const USAGE: Usage = {
  userMs: 4_000,
  systemMs: 1_000,
  heldPeakBytes: 300 * MiB,
  memoryPeakBytes: 400 * MiB,
  hostCpuMs: 6_000,
};
const ENDED: EndedJob = {
  ...{ job: 'slurm-7', job_name: 'a', user: 'alice', uid: 1001, queue: 'main' },
  ...{ ended_at: '2026-01-01T00:00:00.000Z', wall_seconds: 100, cpus: 4, cpu_seconds: 110 },
  ...{
    cpu_efficiency: 0.275,
    host_cpu_seconds: 120,
    memory_limit_bytes: 2048 * MiB,
    memory_asked: '--mem=2G',
  },
  ...{ memory_held_peak_bytes: 240 * MiB, memory_peak_bytes: 2000 * MiB, oom_kills: 0 },
};

describe('usage', () => {
  it('of a run is what came after its start, and peaks stay', () => {
    const later = { ...USAGE, userMs: 9_000, hostCpuMs: 12_000, heldPeakBytes: 301 * MiB };
    expect(usageSince(later, USAGE)).toEqual({
      ...{ userMs: 5_000, systemMs: 0, hostCpuMs: 6_000 },
      ...{ heldPeakBytes: 301 * MiB, memoryPeakBytes: 400 * MiB },
    });
    expect(usageSince(later, undefined)).toEqual(later);
  });

  it('is held against limits by the word of the guest, unless the host sees far more', () => {
    expect(limitedCpuMs(USAGE)).toBe(5_000);
    expect(limitedCpuMs({ ...USAGE, hostCpuMs: 300_000 })).toBe(240_000);
    const limits = { softMs: 5_000, hardMs: 6_000 };
    expect(cpuLimitReached({ ...USAGE, userMs: 3_999 }, limits)).toBeUndefined();
    expect(cpuLimitReached(USAGE, limits)).toBe('soft');
    expect(cpuLimitReached({ ...USAGE, userMs: 5_000 }, limits)).toBe('hard');
    expect(cpuLimitReached(USAGE, {})).toBeUndefined();
  });

  it("takes the place of the shepherd's numbers, and leaves the others", () => {
    const text =
      'wait_status=8\nexit_status=0\nru_utime=0.001\nru_stime=0.002\nru_maxrss=4640\nru_minflt=3\n';
    expect(withUsage(text, USAGE)).toBe(
      `wait_status=8\nexit_status=0\nru_minflt=3\nru_utime=4.000000\nru_stime=1.000000\nru_maxrss=${300 * 1024}\n`,
    );
  });

  it('is limited for all slots of the host, unless the complex counts for the job', () => {
    const config =
      'h_cpu=1:00:00\nh_cpu_is_consumable_job=0\ns_cpu=90\ns_cpu_is_consumable_job=1\nhost_slots=2\n';
    expect(parseSpoolConfig(config).cpuLimits).toEqual({ hardMs: 7_200_000, softMs: 90_000 });
    expect(parseSpoolConfig('h_cpu=INFINITY\ns_cpu=INFINITY\n').cpuLimits).toEqual({
      hardMs: undefined,
      softMs: undefined,
    });
  });
});

describe('advice', () => {
  it('is the peak and a margin, as a user would type it', () => {
    const ask = (mib: number, more: Partial<EndedJob> = {}) =>
      sizeText(memoryToAsk({ ...ENDED, memory_held_peak_bytes: mib * MiB, ...more }));
    expect([1, 240, 400, 1_700, 7_000, 60_000].map((mib) => ask(mib))).toEqual([
      ...['50M', '300M', '500M', '2G', '9G', '71G'],
    ]);
    expect(ask(240, { oom_kills: 1 })).toBe('400M');
  });

  it('is no more CPUs than were busy, of jobs that ran for a while', () => {
    expect(cpusToAsk(ENDED)).toBe(2);
    expect(cpusToAsk({ ...ENDED, cpu_efficiency: 0.9 })).toBeUndefined();
    expect(cpusToAsk({ ...ENDED, wall_seconds: 10 })).toBeUndefined();
  });

  it('is said in the option that was used', () => {
    expect(askSlurm(300 * MiB, '--mem=2G', 2)).toBe('--mem=300M');
    expect(askSlurm(300 * MiB, '--mem-per-cpu=1G', 2)).toBe('--mem-per-cpu=150M');
    expect(askGridEngine(300 * MiB, 'h_vmem=2G', 1)).toBe('-l h_vmem=300M');
    expect(askGridEngine(300 * MiB, 'vm_mem=1G x 2 slots', 2)).toBe('-l vm_mem=150M');
    expect(askGridEngine(300 * MiB, undefined, 1)).toBe('-l vm_mem=300M');
  });
});
