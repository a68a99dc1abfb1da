import { describe, expect, it } from 'vitest';

import { growthRoom } from '../../../src/pressure/growth-room.ts';
import type { JobLoad } from '../../../src/pressure/node.ts';

const GiB = 1024 ** 3;
const memory = { availableBytes: 60 * GiB, keptBytes: GiB, capacityBytes: 64 * GiB, lendsUnreserved: false };

function load(reservedGib: number, residentGib: number, more: Partial<JobLoad> = {}): JobLoad {
  return {
    reservedBytes: reservedGib * GiB,
    reservedCpus: 2,
    isBorrower: false,
    isSteady: true,
    usage: {
      residentBytes: residentGib * GiB,
      cpus: 1,
      cpuDemand: 1,
      cpuDemandNow: 1,
      growthNowBytesPerSecond: 0,
      riseBytes: 0,
      growthBytes: 0,
      isSettled: true,
      stalls: undefined,
    },
    ...more,
  };
}
const room = (self: JobLoad, others: readonly JobLoad[], more = {}) =>
  growthRoom({ memory, cpus: 8, idleCpus: 8, self, others, ...more });

describe('room for growth', () => {
  it('is what nobody has reserved, and what settled jobs leave idle', () => {
    expect(room(load(8, 8), []).memoryBytes).toBe(56 * GiB);
    expect(room(load(8, 8), [load(16, 4)]).memoryBytes).toBe((40 + 12) * GiB);
  });

  it('keeps what others were promised and may soon take', () => {
    const rises = load(16, 4);
    const usage = { ...(rises.usage as NonNullable<JobLoad['usage']>), riseBytes: 5 * GiB };
    expect(room(load(8, 8), [{ ...rises, usage }]).memoryBytes).toBe((40 + 7) * GiB);
    const fresh = { ...rises, usage: { ...usage, isSettled: false } };
    expect(room(load(8, 8), [fresh]).memoryBytes).toBe(40 * GiB);
    const lent = load(3, 1, { isBorrower: true });
    expect(room(load(8, 8), [load(16, 4), lent]).memoryBytes).toBe((40 + 9) * GiB);
  });

  it('is never more than the host has when all have taken theirs', () => {
    const tight = { memory: { ...memory, availableBytes: 10 * GiB } };
    // 10 GiB, less the host's own, less what the job itself has not taken yet.
    expect(room(load(8, 7), [], tight).memoryBytes).toBe(8 * GiB);
    expect(room(load(8, 7), [], { memory: undefined }).memoryBytes).toBe(0);
  });

  it('of a borrower is what others leave idle alone', () => {
    const self = load(4, 4, { isBorrower: true });
    expect(room(self, [load(16, 4)]).memoryBytes).toBe(8 * GiB);
    expect(room(self, []).memoryBytes).toBe(0);
    const lends = { memory: { ...memory, lendsUnreserved: true } };
    expect(room(self, [], lends).memoryBytes).toBe(60 * GiB - GiB);
  });

  it('in CPUs is what others would not run on, and less than nothing when they want it back', () => {
    expect(room(load(8, 8), [load(1, 1)]).cpus).toBe(5);
    expect(room(load(8, 8), [load(1, 1)], { idleCpus: 1.5 }).cpus).toBe(1.5);
    const usage = { ...(load(1, 1).usage as NonNullable<JobLoad['usage']>), cpuDemand: 4 };
    expect(room(load(8, 8), [load(1, 1, { usage }), load(1, 1, { usage })]).cpus).toBe(-2);
  });
});
