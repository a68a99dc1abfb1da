import { describe, expect, it } from 'vitest';

import { cpuSlack, memorySlack } from '../../../src/pressure/slack.ts';

const GiB = 1024 ** 3;
const node = { availableBytes: 60 * GiB, keptBytes: GiB, capacityBytes: 64 * GiB, lendsUnreserved: false };
const whole = { reservedBytes: 64 * GiB, residentBytes: 8 * GiB, riseBytes: 0, isSettled: true };

describe('memorySlack', () => {
  it('is what the owner of a node leaves idle', () => {
    expect(memorySlack(node, [whole], [])).toBe(56 * GiB);
  });

  it('keeps what the owner may grow by before lent memory is back', () => {
    expect(memorySlack(node, [{ ...whole, riseBytes: 6 * GiB }], [])).toBe(50 * GiB);
  });

  it('is 0 for an owner that grows faster than all it leaves idle', () => {
    expect(memorySlack(node, [{ ...whole, riseBytes: 500 * GiB }], [])).toBe(0);
  });

  it('takes off all that was granted, whether taken yet or not', () => {
    const fresh = { grantedBytes: 10 * GiB, residentBytes: 0 };
    expect(memorySlack(node, [whole], [fresh])).toBe(46 * GiB);
    const grown = { grantedBytes: 10 * GiB, residentBytes: 10 * GiB };
    expect(memorySlack({ ...node, availableBytes: 50 * GiB }, [whole], [grown])).toBe(46 * GiB);
  });

  it('lends nothing of a machine that starts, ends, or is not known for long enough', () => {
    expect(memorySlack(node, [{ ...whole, isSettled: false }], [])).toBe(0);
  });

  it('leaves the memory that the scheduler has not reserved to the scheduler', () => {
    const half = { ...whole, reservedBytes: 32 * GiB, residentBytes: 2 * GiB };
    expect(memorySlack({ ...node, availableBytes: 40 * GiB }, [half], [])).toBe(7 * GiB);
  });

  it('is also what nobody has reserved, where that is lent', () => {
    const lending = { ...node, lendsUnreserved: true };
    expect(memorySlack(lending, [], [])).toBe(59 * GiB);
    expect(memorySlack(lending, [], [{ grantedBytes: 20 * GiB, residentBytes: 5 * GiB }])).toBe(44 * GiB);
    const half = { ...whole, reservedBytes: 32 * GiB, residentBytes: 2 * GiB };
    expect(memorySlack({ ...lending, availableBytes: 70 * GiB }, [half], [])).toBe(62 * GiB);
  });

  it('is nothing once an owner has reserved what is lent, and what the owner leaves idle when that is known', () => {
    const lending = { ...node, lendsUnreserved: true };
    const lent = [{ grantedBytes: 20 * GiB, residentBytes: 20 * GiB }];
    const starting = { ...whole, residentBytes: 0, isSettled: false };
    expect(memorySlack(lending, [starting], lent)).toBe(0);
    expect(memorySlack({ ...lending, availableBytes: 36 * GiB }, [whole], lent)).toBe(35 * GiB);
  });

  it('is never more than the host has, and never below 0', () => {
    expect(memorySlack({ ...node, availableBytes: 3 * GiB }, [whole], [])).toBe(2 * GiB);
    expect(memorySlack({ ...node, availableBytes: 0 }, [whole], [])).toBe(0);
    expect(memorySlack(node, [], [])).toBe(0);
  });
});

describe('cpuSlack', () => {
  const owner = { reservedCpus: 8, demandCpus: 2, isSettled: true };
  const host = (idleHostCpus: number, unreservedCpus = 0) => ({ idleHostCpus, unreservedCpus });
  it('is what owners leave idle, less what was given, within what the host has idle', () => {
    expect(cpuSlack(host(8), [owner], [])).toBe(6);
    expect(cpuSlack(host(8, 4), [], [{ grantedCpus: 1 }])).toBe(3);
    expect(cpuSlack(host(8), [owner], [{ grantedCpus: 4 }])).toBe(2);
    expect(cpuSlack(host(1.5), [owner], [])).toBe(1.5);
    expect(cpuSlack(host(8), [{ ...owner, isSettled: false }], [])).toBe(0);
  });
});
