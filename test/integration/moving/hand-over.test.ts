import { readFile } from 'node:fs/promises';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { daemonLog } from '../../lab/daemons.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { asUser, type BatchSystem, waitForEnd } from '../support/batch.ts';
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

const SECONDS = 14;
const SYSTEMS: readonly BatchSystem[] = ['slurm', 'gridengine'];

describe('the machine that a job has left on its node', () => {
  let lab: Lab;
  let one: LabHost;
  let two: LabHost;
  const since = new Date().toISOString();
  beforeAll(async () => {
    lab = await theLab();
    [one, two] = lab.nodes as [LabHost, LabHost];
  });
  afterEach(async () => {
    await asUser(lab, ['qmod', '-e', 'move.q'], { user: 'root' });
    await untilNoTrouble(lab);
    await untilNothingLeft(lab);
  });

  it('goes to the other node, is thawed where it stands, and is restored from the store when its libvirtd is gone', {
    timeout: 4 * MOVE_MS,
  }, async () => {
    const wanted = each((system) => undisturbed(lab, system, { seconds: SECONDS }));
    const jobs = await each(begin);
    await both(jobs, (job) => moveTo(lab, job, one, two));
    await both(jobs, (job) => expectGoesOn(job, one, two, 'hand-over'));

    await both(jobs, (job) => untilTick(job, 6));
    await both(jobs, async (job) => (await park(lab, job, two, two))());
    await both(jobs, (job) => expectGoesOn(job, two, two, 'thaw'));

    await both(jobs, (job) => untilTick(job, 9));
    const releases = await both(jobs, (job) => park(lab, job, two, one));
    const startLibvirtd = await killLibvirtd(two);
    try {
      await Promise.all(releases.map((release) => release()));
      await both(jobs, (job) => expectGoesOn(job, two, one, 'restore'));
    } finally {
      await startLibvirtd();
    }
    for (const job of jobs) expect(await lines(one, job, /no hand-over from/)).toHaveLength(1);

    await both(jobs, async (job) => {
      expect(await waitForEnd(lab, job.system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    });
    const results = await both(jobs, left);
    expect(results.map(comparable)).toEqual((await wanted).map(comparable));
  });

  async function begin(system: BatchSystem): Promise<Counting> {
    const queue = system === 'slurm' ? 'main' : 'move.q';
    if (system === 'gridengine') await asUser(lab, ['qmod', '-d', `move.q@${two.name}`], { user: 'root' });
    const job = await startCounting(lab, system, one, { seconds: SECONDS, queue });
    await untilTick(job, 3);
    return job;
  }

  async function expectGoesOn(job: Counting, from: LabHost, to: LabHost, how: string): Promise<void> {
    await untilOn(to, job, 'running');
    expect(await machineOf(to, job)).toMatchObject({ boot_path: how });
    const frozen = (await lines(from, job, /\] frozen\b/)).at(-1);
    const ready = (await lines(to, job, /machine ready/)).at(-1);
    console.log(`${job.key} ${how}: ${timeIn(ready) - timeIn(frozen)} ms from freeze to go-on; ${ready}`);
  }

  /** Of caddisd's log on a node: a lab that was up before has left lines there, of jobs with the same ids. */
  async function lines(node: LabHost, { key }: Counting, pattern: RegExp): Promise<string[]> {
    const text = await readFile(daemonLog(node.name, 'caddisd'), 'utf8');
    return text.split('\n').filter((line) => line >= since && line.includes(key) && pattern.test(line));
  }
});

/** Both schedulers side by side. */
function each<T>(work: (system: BatchSystem) => Promise<T>): Promise<T[]> {
  return Promise.all(SYSTEMS.map(work));
}

function both<T>(jobs: readonly Counting[], work: (job: Counting) => Promise<T>): Promise<T[]> {
  return Promise.all(jobs.map(work));
}

function comparable<T extends { stderr: string }>(result: T): T {
  return { ...result, stderr: withoutSlurmsLines(result.stderr) };
}

function timeIn(line = ''): number {
  return Date.parse(/\d{4}-\d\d-\d\dT[\d:.]+Z/.exec(line)?.[0] ?? '');
}
