import { readFile } from 'node:fs/promises';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { Lab, LabHost } from '../../lab/host.ts';
import { type BatchSystem, waitForEnd } from '../support/batch.ts';
import { killLibvirtd, untilNoTrouble } from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import {
  type Counting,
  left,
  MOVE_MS,
  machineOf,
  moveTo,
  park,
  startCounting,
  undisturbed,
  untilOn,
  untilTick,
  withoutSlurmsLines,
} from './support.ts';

const SECONDS = 20;

describe.each<BatchSystem>(['slurm', 'gridengine'])('the parked machine of a job of %s', (system) => {
  let lab: Lab;
  let nodes: [LabHost, LabHost];
  beforeAll(async () => {
    lab = await theLab();
    nodes = [lab.nodes[0] as LabHost, lab.nodes[1] as LabHost];
  });
  afterEach(async () => {
    await untilNoTrouble(lab);
    await untilNothingLeft(lab);
  });

  async function begin(): Promise<{ job: Counting; here: LabHost; there: LabHost }> {
    const queue = system === 'slurm' ? 'main' : 'move.q';
    const job = await startCounting(lab, system, nodes[0], { seconds: SECONDS, queue });
    await untilTick(job, 3);
    const [one, two] = nodes;
    const here = (await machineOf(one, job)) ? one : two;
    return { job, here, there: here === one ? two : one };
  }

  async function ends(job: Counting, wanted: Awaited<ReturnType<typeof undisturbed>>): Promise<void> {
    expect(await waitForEnd(lab, system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    const result = await left(job);
    expect({ ...result, stderr: withoutSlurmsLines(result.stderr) }).toEqual({
      ...wanted,
      stderr: withoutSlurmsLines(wanted.stderr),
    });
  }

  it('is thawed where it stands when its job comes back to its host', { timeout: 3 * MOVE_MS }, async () => {
    const { job, here } = await begin();
    const wanted = undisturbed(lab, system, { seconds: SECONDS });
    const release = await park(lab, job, here, here);
    await release();
    await expectGoesOn(job, here, here, 'thaw');
    await ends(job, await wanted);
  });

  it('is restored from the store when its libvirtd is gone', { timeout: 3 * MOVE_MS }, async () => {
    const { job, here, there } = await begin();
    const wanted = undisturbed(lab, system, { seconds: SECONDS });
    const release = await park(lab, job, here, there);
    const startLibvirtd = await killLibvirtd(here);
    try {
      await release();
      await expectGoesOn(job, here, there, 'restore');
    } finally {
      await startLibvirtd();
    }
    await ends(job, await wanted);
  });

  it('goes to the other host, and on from there', { timeout: 4 * MOVE_MS }, async () => {
    const { job, here, there } = await begin();
    const wanted = undisturbed(lab, system, { seconds: SECONDS });
    await moveTo(lab, job, here, there);
    await expectGoesOn(job, here, there, 'hand-over');
    await untilTick(job, 8);
    await moveTo(lab, job, there, here);
    await expectGoesOn(job, there, here, 'hand-over');
    await ends(job, await wanted);
  });

  async function expectGoesOn(job: Counting, from: LabHost, to: LabHost, how: string): Promise<void> {
    await untilOn(to, job, 'running');
    expect(await machineOf(to, job)).toMatchObject({ boot_path: how });
    const frozen = await lastLine(from, job, /\] frozen\b/);
    const ready = await lastLine(to, job, /machine ready/);
    console.log(`${job.key} ${how}: ${Date.parse(ready) - Date.parse(frozen)} ms from freeze to go-on`);
  }

  /** Time of the last line of that kind in caddisd's log. */
  async function lastLine(node: LabHost, { key }: Counting, pattern: RegExp): Promise<string> {
    const text = await readFile(`${lab.paths.root}/logs/${node.name}-caddisd.log`, 'utf8');
    const line =
      text
        .split('\n')
        .filter((one) => one.includes(key) && pattern.test(one))
        .at(-1) ?? '';
    return /\d{4}-\d\d-\d\dT[\d:.]+Z/.exec(line)?.[0] ?? '';
  }
});
