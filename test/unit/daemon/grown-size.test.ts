import { describe, expect, it } from 'vitest';

import { askedFor, countAsRaised, noteGrowth } from '../../../src/daemon/pressure/grown-size.ts';
import type { MachineFacts } from '../../../src/vm/metadata.ts';

const MiB = 1024 ** 2;

function jobWith(askedMib: number | undefined, growth?: MachineFacts['growth']) {
  const memoryBytes = askedMib === undefined ? undefined : askedMib * MiB;
  return {
    facts: { request: { memoryBytes, cpus: 1 }, ...(growth ? { growth } : {}) },
    sizes: { memoryBytes, cpus: 1, totalBytes: 210 * MiB, idleLossBytes: 33 * MiB },
  } as never as Parameters<typeof askedFor>[0];
}

describe('what a user asked for', () => {
  it('stays what it was, however far the job grows and moves', () => {
    const job = jobWith(200);
    job.sizes.memoryBytes = 300 * MiB;
    noteGrowth(job, { memoryBytes: 200 * MiB, cpus: 1 });
    expect(job.facts.growth).toEqual({ requeues: 0, askedBytes: 200 * MiB, memoryBytes: 300 * MiB });
    expect(askedFor(job).memoryBytes).toBe(200 * MiB);
    // It left, and was asked for in its name; schedulers round up.
    job.facts.request.memoryBytes = 301 * MiB;
    countAsRaised(job.facts);
    expect(job.facts.growth).toEqual({ requeues: 0, askedBytes: 200 * MiB, raisedBytes: 300 * MiB });
    expect(askedFor(job).memoryBytes).toBe(200 * MiB);
  });

  it('is a new request when the user has asked for more than we did', () => {
    const job = jobWith(800, { requeues: 1, askedBytes: 200 * MiB, raisedBytes: 300 * MiB });
    expect(askedFor(job).memoryBytes).toBe(800 * MiB);
  });

  it('is what a machine offers by itself when nothing was asked for', () => {
    const job = jobWith(undefined);
    const asked = askedFor(job);
    expect(asked.memoryBytes).toBe(177 * MiB);
    job.sizes.memoryBytes = 250 * MiB;
    job.sizes.totalBytes = 290 * MiB;
    noteGrowth(job, asked);
    expect(job.facts.growth).toMatchObject({ askedBytes: 177 * MiB, memoryBytes: 250 * MiB });
    expect(askedFor(job).memoryBytes).toBe(177 * MiB);
  });

  it('still has a growth while its scheduler was not told', () => {
    const job = jobWith(200, { requeues: 0, askedBytes: 200 * MiB, memoryBytes: 300 * MiB });
    countAsRaised(job.facts);
    expect(job.facts.growth?.memoryBytes).toBe(300 * MiB);
  });
});
