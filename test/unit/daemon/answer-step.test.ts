import { describe, expect, it } from 'vitest';

import { answer } from '../../../src/daemon/answer.ts';
import { stepSessionId } from '../../../src/guest/sessions/session-id.ts';

const stepSocket = '/run/caddis/machines/caddis-1/step.sock';

/** What a job's own socket answers, when somebody connects whom its mode does not keep out. */
describe("a job's own socket", () => {
  const attached: bigint[] = [];
  const started: string[] = [];
  const job = {
    key: { scheduler: 'gridengine', jobId: '7', task: '1' },
    ...{ machine: 'caddis-1', identity: { uid: 1001, gid: 1001, name: 'alice', passwd: '' } },
    ...{
      places: { stepSocket },
      state: { phase: 'running' },
      shims: new Map(),
      mainSteps: new Set(),
      cameWith: [],
    },
    scheduler: {
      ambiguousSignals: new Set(),
      readStep: ({ args }: { args: string[] }) => {
        started.push(args.join(' '));
        return { name: 'batch' };
      },
    },
    resources: { guest: { attachStep: (id: bigint) => attached.push(id) } },
  };
  const node = { jobs: { all: () => [job] }, config: { run_dir: '/run/caddis' } } as never;
  const ask = (call: object) =>
    answer(
      node,
      {
        verb: 'exec',
        args: ['true'],
        uid: 1001,
        pid: process.pid,
        session: undefined,
        env: {},
        ...call,
      } as never,
      { peer: {} } as never,
      { path: stepSocket, owner: { uid: 1001, gid: 1001 } },
      new AbortController().signal,
    );

  it("starts no step for root's hooks, whose environment is another user's", async () => {
    await expect(ask({ uid: 0, args: ['/home/mallory/x', 'prolog', 'gridengine'] })).rejects.toThrow(
      'steps of gridengine-7.1 are for uid 1001 to start, not for 0',
    );
    expect(started).toEqual([]);
  });

  it('connects a client of its user to its session again', async () => {
    const session = stepSessionId('caddis-1', process.pid);
    await ask({ session });
    expect(attached).toEqual([session]);
  });

  it.each(['exec', 'shell'])("does not give root's shell in the machine to the user (%s)", async (verb) => {
    attached.length = 0;
    const session = stepSessionId('caddis-1', process.pid, 'root');
    await expect(ask({ verb, session })).rejects.toThrow(/none of gridengine-7.1's own/);
    expect(attached).toEqual([]);
  });
});
