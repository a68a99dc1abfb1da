import { describe, expect, it } from 'vitest';

import { facts } from '../../../src/daemon/verbs/facts.ts';

/** slurmstepd says what a step has; the machine may have to grow for it. */
describe('facts of a step', () => {
  function world() {
    const events: string[] = [];
    const job = {
      ...{ request: { hosts: 1, restartCount: 0 }, sizes: { cpus: 1, memoryBytes: undefined } },
      log: { error: () => undefined },
      exclusive: (work: () => Promise<void>) => work(),
      dispatch: async ({ type }: { type: string }) => void events.push(type),
      // Growing is stopped by whoever asks, or fails of itself: there is no machine.
      resources: {},
    };
    const node = { jobs: { current: () => job }, context: {} } as never;
    const scheduler = { readFacts: () => ({ key: {}, cpus: 2, unheralded: undefined }) } as never;
    return { events, ask: (signal: AbortSignal) => facts(node, scheduler, {} as never, signal) };
  }

  it('end the machine when it cannot be what the scheduler says', async () => {
    const { events, ask } = world();
    expect(await ask(new AbortController().signal)).toMatchObject({ exitCode: 1 });
    expect(events).toEqual(['machine-lost']);
  });

  it('cost a job nothing when caddisd is restarted, or the step cancelled, while it grows', async () => {
    const { events, ask } = world();
    await expect(ask(AbortSignal.abort(new Error('caddisd is stopping')))).rejects.toThrow();
    expect(events).toEqual([]);
  });
});
