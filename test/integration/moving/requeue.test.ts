import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import { daemonLog } from '../../lab/daemons.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { until } from '../../lab/process.ts';
import { asUser, type BatchSystem, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import {
  type Counting,
  leftOwn,
  MOVE_MS,
  machineOf,
  moveTo,
  must,
  startCounting,
  undisturbed,
  untilOn,
  untilTick,
  whereIs,
} from './support.ts';

const SYSTEMS = ['slurm', 'gridengine'] as const satisfies readonly BatchSystem[];
const SECONDS = 24;
const QUEUE = { slurm: 'main', gridengine: 'move.q' };
/** Live data of one of them: much, since it is moved three times. */
const MEGABYTES = { slurm: 20, gridengine: 200 };
/** After which the lab's file server has forgotten the locks of a client that is silent (Lease_Lifetime), and a little more. */
const LEASE_MS = 22_000;

describe('a job', () => {
  let lab: Lab;
  let nodes: [LabHost, LabHost];
  beforeAll(async () => {
    lab = await theLab();
    nodes = [lab.nodes[0] as LabHost, lab.nodes[1] as LabHost];
  });
  afterEach(() => untilNothingLeft(lab));

  it.concurrent.each(SYSTEMS)(
    'goes on at the same instruction on the other host, and back, and there again: %s',
    {
      timeout: 4 * MOVE_MS,
    },
    async (system) => {
      const wanted = undisturbed(lab, system, { seconds: SECONDS, megabytes: MEGABYTES[system] });
      const job = await startCounting(lab, system, nodes[0], {
        ...{ seconds: SECONDS, megabytes: MEGABYTES[system], queue: QUEUE[system] },
      });
      await untilTick(job, 3);
      let { here, there } = await whereIs(lab, job);
      for (const tick of [6, 10, 14]) {
        await moveTo(lab, job, here, there);
        // A handed-over machine waits for 20 s in the lab: on a busy one the job may come later, and is restored (hand-over.test.ts tells them apart).
        expect((await machineOf(there, job))?.boot_path).toMatch(/^(hand-over|restore)$/);
        await untilTick(job, tick);
        [here, there] = [there, here];
      }
      expect(await waitForEnd(lab, system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
      expect(await leftOwn(job)).toEqual(await wanted);
    },
  );

  it('stands still while it is suspended, for longer than its locks’ lease and through a restart of caddisd, and goes on', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const wanted = SYSTEMS.map((system) => undisturbed(lab, system, { seconds: 8 }));
    const [node] = nodes;
    const jobs = await Promise.all(
      SYSTEMS.map((system) =>
        startCounting(lab, system, node, {
          seconds: 8,
          options: system === 'gridengine' ? ['-l', `hostname=${node.name}`] : [],
        }),
      ),
    );
    await Promise.all(
      jobs.map(async (job) => {
        await untilTick(job, 2);
        await say(job, 'suspend', '-sj');
        await untilOn(node, job, 'frozen');
      }),
    );
    const begun = performance.now();
    // Who takes over a machine that stands still asks the scheduler why.
    const log = () => readFile(daemonLog(node.name, 'caddisd'), 'utf8');
    const before = (await log()).length;
    await stopOn(node);
    await startOn(lab, node);
    await until(
      'the next caddisd to have asked',
      async () => {
        const lines = (await log()).slice(before).split('\n');
        return jobs.every(({ key }) =>
          lines.some((line) => line.includes(key) && line.includes('the scheduler says: suspended')),
        );
      },
      { timeoutMs: MOVE_MS, everyMs: 200 },
    );
    await sleep(Math.max(0, LEASE_MS - (performance.now() - begun)));
    for (const [i, job] of jobs.entries()) {
      expect(await machineOf(node, job)).toMatchObject({ phase: 'frozen' });
      await say(job, 'resume', '-usj');
      await untilOn(node, job, 'running');
      expect(await waitForEnd(lab, job.system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
      expect(await leftOwn(job)).toEqual(await wanted[i]);
    }
  });

  async function say({ system, id }: Counting, slurm: string, gridengine: string): Promise<void> {
    const command = system === 'slurm' ? ['scontrol', slurm, id] : ['qmod', gridengine, id];
    await must(asUser(lab, command, { user: 'root' }));
  }
});
