import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { Lab } from '../../lab/host.ts';
import { until } from '../../lab/process.ts';
import { asUser, type BatchSystem, submit, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import { MOVE_MS, must, statusOf } from './support.ts';

const TICKS = 12;
const TASKS = ['1', '2'] as const;
const SCRIPT = `#!/bin/bash
task=\${SLURM_ARRAY_TASK_ID:-$SGE_TASK_ID}
echo run >> runs.$task
for i in $(seq ${TICKS}); do echo $i; echo $i >> ticks.$task; sleep 1; done
`;
const OPTIONS: Readonly<Record<BatchSystem, readonly string[]>> = {
  slurm: ['--array=1-2', '--mem=100M', '-o', 'out.%a'],
  gridengine: ['-t', '1-2', '-l', 'h_vmem=100M'],
};

interface TaskArray {
  readonly system: BatchSystem;
  readonly id: string;
  readonly directory: string;
}

describe('one task of an array', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });
  afterEach(() => untilNothingLeft(lab));

  it.concurrent.each<BatchSystem>(['slurm', 'gridengine'])(
    'moves, and the others stay where they are: %s',
    { timeout: 3 * MOVE_MS },
    async (system) => {
      const array = { system, ...(await submit(lab, system, 'vm', job(system))) };
      for (const task of TASKS) await untilTick(array, task, 3);
      const before = await incarnations();
      const [moving, staying] = await Promise.all(TASKS.map((task) => keyOf(array, task)));
      const command =
        system === 'slurm' ? ['scontrol', 'requeue', `${array.id}_1`] : ['qmod', '-sj', `${array.id}.1`];
      await must(asUser(lab, command, { user: 'root' }));
      await until(
        'the task to go on under another incarnation',
        async () => {
          const now = (await incarnations()).get(moving as string);
          return now !== undefined && now !== before.get(moving as string);
        },
        { timeoutMs: MOVE_MS, everyMs: 200 },
      );
      expect((await incarnations()).get(staying as string)).toBe(before.get(staying as string));
      expect(await waitForEnd(lab, system, array.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
      for (const task of TASKS) {
        expect(await linesOf(array, `runs.${task}`)).toEqual(['run']);
        expect(await linesOf(array, `ticks.${task}`)).toEqual(COUNTED);
        if (system === 'slurm') expect(await linesOf(array, `out.${task}`)).toEqual(COUNTED);
      }
    },
  );

  /** Of the machines of both nodes that run, by job. */
  async function incarnations(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const node of lab.nodes)
      for (const { job, phase, incarnation } of (await statusOf(node)).machines)
        if (phase === 'running') found.set(job, incarnation);
    return found;
  }

  /** As caddisd calls the task: Slurm gives each an id of its own. */
  async function keyOf({ system, id }: TaskArray, task: string): Promise<string> {
    if (system === 'gridengine') return `gridengine-${id}.${task}`;
    const { stdout } = await asUser(lab, ['scontrol', '-o', 'show', 'job', `${id}_${task}`], {
      user: 'root',
    });
    return `slurm-${/^JobId=(\d+)/m.exec(stdout)?.[1]}`;
  }
});

const COUNTED = Array.from({ length: TICKS }, (_, i) => String(i + 1));

function job(system: BatchSystem): Parameters<typeof submit>[3] {
  return {
    script: SCRIPT,
    options: OPTIONS[system],
    ...(system === 'gridengine' ? { queue: 'move.q' } : {}),
  };
}

async function untilTick(array: TaskArray, task: string, tick: number): Promise<void> {
  await until(
    `task ${task} of ${array.id} to count to ${tick}`,
    async () => (await linesOf(array, `ticks.${task}`)).length >= tick,
    { timeoutMs: MOVE_MS, everyMs: 200 },
  );
}

async function linesOf({ directory }: TaskArray, name: string): Promise<string[]> {
  const text = await readFile(join(directory, name), 'utf8').catch(() => '');
  return text.split('\n').filter(Boolean);
}
