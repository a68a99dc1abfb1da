import { describe, expect, it } from 'vitest';

import type { Job } from '../../../src/daemon/job.ts';
import type { Node } from '../../../src/daemon/node.ts';
import { grantSlack, heldByBorrowers, isNotCovered } from '../../../src/daemon/pressure/lending.ts';

const MiB = 1024 ** 2;
const signal = AbortSignal.timeout(5_000);

/** Of a job, what a grant looks at; `asked`: the controller has been asked. */
function borrower(memoryBytes: number | undefined, queue = 'scavenge'): Job {
  const log = { info: () => undefined };
  return {
    ...{ log, isAdmitted: false, asked: Promise.resolve(), sizes: { memoryBytes: undefined } },
    facts: { request: { memoryBytes, queue } },
  } as unknown as Job;
}

/** A node that could lend `bytes` in all: what was granted to its jobs is taken off at once. */
function lender(bytes: number | undefined, jobs: readonly Job[]): Node {
  const granted = () =>
    jobs.filter(({ isAdmitted }) => isAdmitted).reduce((sum, { sizes }) => sum + (sizes.memoryBytes ?? 0), 0);
  return {
    config: { pressure: { scavenge: ['scavenge'] } },
    giveBack: { whyNoCpus: undefined },
    jobs: { all: () => jobs },
    get lendableBytes() {
      return bytes === undefined ? undefined : bytes - granted();
    },
  } as unknown as Node;
}

describe('grantSlack', () => {
  it('gives one slack to one of two that come at once', async () => {
    const racers = [borrower(300 * MiB), borrower(300 * MiB)];
    const node = lender(500 * MiB, racers);
    const [first, second] = await Promise.allSettled(racers.map((job) => grantSlack(node, job, 0, signal)));
    expect(first?.status).toBe('fulfilled');
    expect(second).toMatchObject({
      reason: { message: 'this job needs 300 MiB, and this node can lend 200 MiB now' },
    });
    expect(racers.map(({ isAdmitted }) => isAdmitted)).toEqual([true, false]);
  });

  it('grants what a saved machine has', async () => {
    const job = borrower(100 * MiB);
    await expect(grantSlack(lender(200 * MiB, [job]), job, 300 * MiB, signal)).rejects.toThrow(
      'needs 300 MiB',
    );
    await grantSlack(lender(300 * MiB, [job]), job, 300 * MiB, signal);
    expect(job.sizes.memoryBytes).toBe(300 * MiB);
  });

  it('grants nothing without data', async () => {
    const blind = await grantSlack(lender(undefined, []), borrower(MiB), 0, signal).catch((e: unknown) => e);
    expect(isNotCovered(blind)).toBe(true);
    const silent = await grantSlack(lender(300 * MiB, []), borrower(undefined), 0, signal).catch(
      (e: unknown) => e,
    );
    expect(isNotCovered(silent)).toBe(true);
  });
});

describe('heldByBorrowers', () => {
  it('counts what is resident, and before that was seen, all that they were lent', () => {
    const [seen, fresh, owner] = [borrower(1), borrower(1), borrower(1, 'main')];
    for (const job of [seen, fresh, owner]) job.sizes.memoryBytes = 300 * MiB;
    const node = {
      ...lender(0, [seen, fresh, owner]),
      view: { jobs: [{ job: seen, usage: { residentBytes: 120 * MiB } }] },
    } as unknown as Node;
    expect(heldByBorrowers(node)).toBe(420 * MiB);
  });
});
