import { describe, expect, it } from 'vitest';

import { type JobLoad, type NodeLoad, nodeReport } from '../../../src/pressure/node.ts';

const GiB = 1024 ** 3;
const usage = {
  ...{ residentBytes: 8 * GiB, cpus: 2, cpuDemand: 2, riseBytes: 0, growthBytes: 0 },
  ...{ growthNowBytesPerSecond: 0, cpuDemandNow: 2 },
  ...{ isSettled: true, stalls: undefined },
};
const owner: JobLoad = { reservedBytes: 64 * GiB, reservedCpus: 8, isBorrower: false, isSteady: true, usage };
const load: NodeLoad = {
  memory: { availableBytes: 56 * GiB, keptBytes: GiB, capacityBytes: 64 * GiB, lendsUnreserved: false },
  ...{ cpus: 8, idleCpus: 6, stalls: undefined, jobs: [owner] },
};
const withOwner = (change: Partial<typeof usage>): NodeLoad => ({
  ...load,
  jobs: [{ ...owner, usage: { ...usage, ...change } }],
});

describe('nodeReport', () => {
  it('offers what an owner leaves idle, under the pressure of what it uses', () => {
    expect(nodeReport(load, true)).toEqual({
      ok: true,
      jobs: 1,
      lent: { memoryBytes: 0, cpus: 0 },
      slack: { memoryBytes: 55 * GiB, cpus: 6 },
      pressure: { memory: 0, cpu: 0.25, io: 0, overall: 0.25 },
    });
  });

  it('rises with an owner that grows, before anything stalls', () => {
    const pressures = [0, 5, 20, 60].map(
      (gib) => nodeReport(withOwner({ growthBytes: gib * GiB }), true).pressure.memory,
    );
    expect(pressures).toEqual([0, 5 / 55, 20 / 55, 1]);
  });

  it('does not take growth for pressure beyond what is reserved', () => {
    expect(
      nodeReport(withOwner({ residentBytes: 64 * GiB, growthBytes: 60 * GiB }), true).pressure.memory,
    ).toBe(0);
  });

  it('rises with owners that want the CPUs, not with borrowers that do', () => {
    expect(nodeReport(withOwner({ cpuDemand: 8 }), true).pressure.cpu).toBe(1);
    const borrower = { ...owner, reservedBytes: GiB, isBorrower: true, usage: { ...usage, cpuDemand: 8 } };
    const report = nodeReport({ ...load, jobs: [owner, borrower] }, true);
    expect(report.pressure.cpu).toBe(0.25);
    expect(report.lent).toEqual({ memoryBytes: GiB, cpus: 8 });
  });

  it('rises when the host has next to nothing left, whoever took it', () => {
    const memory = {
      availableBytes: 2.6 * GiB,
      keptBytes: GiB,
      capacityBytes: 64 * GiB,
      lendsUnreserved: false,
    };
    expect(nodeReport({ ...load, memory, jobs: [] }, true).pressure.memory).toBeCloseTo(0.5);
    expect(nodeReport({ ...load, memory: { ...memory, availableBytes: 0 } }, true).pressure.memory).toBe(1);
  });

  it('gives no slack while the node is unfit, and neither slack nor pressure for want of data', () => {
    expect(nodeReport(load, false).slack).toEqual({ memoryBytes: 0, cpus: 0 });
    const blind = nodeReport({ ...load, memory: undefined, jobs: [{ ...owner, usage: undefined }] }, true);
    expect(blind.slack).toEqual({ memoryBytes: 0, cpus: 0 });
    expect(blind.pressure.overall).toBe(0);
  });
});
