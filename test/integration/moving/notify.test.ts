import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { Lab } from '../../lab/host.ts';
import { asUser, submit, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import { type Counting, left, MOVE_MS, must, untilOn, untilSays, whereIs } from './support.ts';

/** Says which signals it gets, and at which tick. */
const script = (ticks: number) => `#!/bin/bash
trap 'echo usr1' USR1
trap 'echo usr2' USR2
for i in $(seq ${ticks}); do echo $i; sleep 1; done
echo done
`;

/** sge_queue conf: `notify` of the lab's queues is 10 s. */
describe('a Grid Engine job that wants to be told', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });
  afterEach(() => untilNothingLeft(lab));

  it.concurrent('-notify: hears USR1 before it is suspended, stands still, and goes on', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const job = await start(['-notify'], 16);
    await untilSays(job, '2');
    const { here } = await whereIs(lab, job);
    await qmod('-sj', job);
    await untilSays(job, 'usr1');
    await untilOn(here, job, 'frozen');
    await qmod('-usj', job);
    expect(await end(job)).toEqual(counted(16, ['usr1']));
  });

  it.concurrent('-notify: is moved like any other, and told nothing: its state goes along', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const job = await start(['-notify'], 16, 'move.q');
    await untilSays(job, '2');
    const { here } = await whereIs(lab, job);
    await qmod('-sj', job);
    await untilOn(here, job, 'parked');
    expect(await end(job)).toEqual(counted(16, []));
  });

  it.concurrent('-l s_rt: hears USR1 when its time is over, also when it stood still then', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const job = await start(['-l', 's_rt=12'], 10);
    await untilSays(job, '2');
    const { here } = await whereIs(lab, job);
    await qmod('-sj', job);
    await untilOn(here, job, 'frozen');
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    await qmod('-usj', job);
    expect(await end(job)).toEqual(counted(10, ['usr1']));
  });

  async function start(options: readonly string[], ticks: number, queue?: string): Promise<Counting> {
    const { id, directory } = await submit(lab, 'gridengine', 'vm', {
      script: script(ticks),
      options: ['-l', 'h_vmem=100M', ...options],
      ...(queue === undefined ? {} : { queue }),
    });
    return { system: 'gridengine', id, directory, key: `gridengine-${id}.1` };
  }

  async function qmod(what: string, { id }: Counting): Promise<void> {
    await must(asUser(lab, ['qmod', what, id], { user: 'root' }));
  }

  /** Ticks and signals, as the job has said them. */
  async function end(job: Counting): Promise<{ ticks: string[]; signals: string[] }> {
    expect(await waitForEnd(lab, 'gridengine', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    const lines = (await left(job)).stdout.split('\n').filter(Boolean);
    return {
      ticks: lines.filter((line) => !line.startsWith('usr')),
      signals: [...new Set(lines.filter((line) => line.startsWith('usr')))],
    };
  }
});

function counted(ticks: number, signals: string[]): { ticks: string[]; signals: string[] } {
  return { ticks: [...Array.from({ length: ticks }, (_, i) => String(i + 1)), 'done'], signals };
}
