import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { savePeriodically } from '../../../src/daemon/moving/periodic.ts';

describe('checkpoints at intervals', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it.each(['frozen', 'releasing', 'released', 'restoring'])('go on after the job was %s', async (phase) => {
    const tried: string[] = [];
    const job = {
      ...{ facts: { request: { hosts: 1, checkpointMs: 1_000 } }, state: { phase, lost: undefined } },
      log: { info: () => undefined, warn: (text: string) => tried.push(text) },
      oneCheckpoint: async () => Promise.reject(new Error('there is nothing to save in here')),
    };
    savePeriodically({ context: { checkpoints: {} } } as never, job as never);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(tried).toEqual([]);
    job.state.phase = 'running';
    await vi.advanceTimersByTimeAsync(1_000);
    expect(tried).toEqual(['no checkpoint this time: there is nothing to save in here']);
  });
});
