import { readFile } from 'node:fs/promises';

import { beforeAll, describe, expect, it } from 'vitest';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import { daemonLog } from '../../lab/daemons.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { until } from '../../lab/process.ts';
import { asUser, type BatchSystem, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import {
  left,
  MOVE_MS,
  machineOf,
  moveTo,
  startCounting,
  undisturbed,
  untilOn,
  untilTick,
  withoutSlurmsLines,
} from './support.ts';

const SECONDS = 24;

describe.each<BatchSystem>(['slurm', 'gridengine'])('a job of %s', (system) => {
  let lab: Lab;
  let nodes: [LabHost, LabHost];
  beforeAll(async () => {
    lab = await theLab();
    nodes = [lab.nodes[0] as LabHost, lab.nodes[1] as LabHost];
  });

  it('goes on at the same instruction on the other host, and back', { timeout: 4 * MOVE_MS }, async () => {
    const wanted = undisturbed(lab, system, { seconds: SECONDS });
    const [one, two] = nodes;
    const queue = system === 'slurm' ? 'main' : 'move.q';
    const job = await startCounting(lab, system, one, { seconds: SECONDS, queue });
    await untilTick(job, 3);
    let here = (await machineOf(one, job)) ? one : two;
    for (const tick of [6, 10, 14]) {
      const there = here === one ? two : one;
      await moveTo(lab, job, here, there);
      expect(await machineOf(there, job)).toMatchObject({ boot_path: 'hand-over' });
      await untilTick(job, tick);
      here = there;
    }
    expect(await waitForEnd(lab, system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    const result = await left(job);
    expect({ ...result, stderr: withoutSlurmsLines(result.stderr) }).toEqual(await wanted);
    await untilNothingLeft(lab);
  });

  it('stands still while it is suspended, also through a restart of caddisd, and goes on', {
    timeout: 2 * MOVE_MS,
  }, async () => {
    const wanted = undisturbed(lab, system, { seconds: 8 });
    const job = await startCounting(lab, system, nodes[0], { seconds: 8 });
    await untilTick(job, 2);
    const node = (await machineOf(nodes[0], job)) ? nodes[0] : nodes[1];
    const say = (slurm: string, gridengine: string) =>
      system === 'slurm'
        ? asUser(lab, ['scontrol', slurm, job.id], { user: 'root' })
        : asUser(lab, ['qmod', gridengine, job.id], { user: 'root' });
    await say('suspend', '-sj');
    await untilOn(node, job, 'frozen');
    // Who takes over a machine that stands still asks the scheduler why.
    const log = () => readFile(daemonLog(node.name, 'caddisd'), 'utf8');
    const before = (await log()).length;
    await stopOn(node);
    await startOn(lab, node);
    await until(
      'the next caddisd to have asked',
      async () =>
        (await log())
          .slice(before)
          .split('\n')
          .some((line) => line.includes(job.key) && line.includes('the scheduler says: suspended')),
      { timeoutMs: MOVE_MS, everyMs: 200 },
    );
    expect(await machineOf(node, job)).toMatchObject({ phase: 'frozen' });
    await say('resume', '-usj');
    await untilOn(node, job, 'running');
    expect(await waitForEnd(lab, system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    expect(await left(job)).toEqual(await wanted);
  });
});
