import { beforeAll, describe, expect, it } from 'vitest';

import type { Lab } from '../../lab/host.ts';
import { type BatchJob, type BatchSystem, runBatch } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { CASES, withoutIds } from './cases.ts';

/** What a user notices: nothing. Each case runs once natively and once in a machine, at the same time on the same cluster. */
describe.each<BatchSystem>(['slurm', 'gridengine'])('in a machine as natively: %s', (system) => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });

  const cases = CASES.filter(({ on }) => on === undefined || on.includes(system));
  it.concurrent.each(cases)('$name', async ({ job, normalise = withoutIds, expect: check }) => {
    const wanted: BatchJob = typeof job === 'function' ? job(system) : job;
    const [native, vm] = await Promise.all([
      runBatch(lab, system, 'native', { ...wanted, timeoutMs: 110_000 }),
      runBatch(lab, system, 'vm', { ...wanted, timeoutMs: 110_000 }),
    ]);
    const seen = (result: typeof vm) => ({
      exitCode: result.exitCode,
      signal: result.signal,
      stdout: normalise(result.stdout, result),
      stderr: normalise(result.stderr, result),
    });
    expect(seen(vm)).toEqual(seen(native));
    check?.(vm);
  });
});
