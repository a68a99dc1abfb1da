import { expect, it } from 'vitest';

import { mayAlter } from '../../../src/scheduler/gridengine/jsv-settings.ts';
import {
  noteSize,
  obstacleToRaise,
  raisedList,
  raiseMemory,
  releaseNext,
} from '../../../src/scheduler/gridengine/raise.ts';
import { text } from './fixture.ts';

const MiB = 1024 ** 2;
const signal = AbortSignal.timeout(5_000);
const request = { key: { scheduler: 'gridengine', jobId: '15', task: '1' }, cpus: 2 } as never;
const running = text('qstat-j.xml');
const waiting = running.replace(/<JAT_status>\d+</g, '<JAT_status>0<');

function commands(answers: Readonly<Record<string, readonly string[]>>) {
  const calls: string[] = [];
  const asked = new Map<string, number>();
  const run = async (argv: readonly string[]) => {
    const name = argv[0] as string;
    const of = answers[name];
    if (!of) {
      calls.push(argv.join(' '));
      return '';
    }
    const i = asked.get(name) ?? 0;
    asked.set(name, i + 1);
    return of[Math.min(i, of.length - 1)] as string;
  };
  return { calls, run };
}

it('raises memory per slot, and keeps all else that was asked for', async () => {
  const hard = new Map([
    ['vm_mem', { text: '1G', value: 2 ** 30 }],
    ['hostname', { text: 'n1', value: 0 }],
  ]);
  expect(raisedList(hard, 1536)).toBe('vm_mem=1536M,hostname=n1');
  expect(raisedList(new Map(), 300)).toBe('vm_mem=300M');
  const { calls, run } = commands({ qstat: [running, waiting] });
  await raiseMemory(request, 601 * MiB, run, signal);
  expect(calls).toHaveLength(1);
  expect(calls[0]).toMatch(/^qalter -l .*vm_mem=301M.* 15$/);
});

it('does so only where the cell lets it, and for no array', async () => {
  expect(mayAlter('jsv_url                      none\njsv_allowed_mod  ac,h\n', 'l_hard')).toBe(true);
  expect(mayAlter('jsv_url  script:/x\njsv_allowed_mod  ac,h,l_hard\n', 'l_hard')).toBe(true);
  expect(mayAlter('jsv_url  script:/x\njsv_allowed_mod  ac,h,q_hard\n', 'l_hard')).toBe(false);
  const closed = commands({ qstat: [running], qconf: ['jsv_url script:/x\njsv_allowed_mod ac\n'] });
  expect(await obstacleToRaise(request, closed.run, signal)).toMatch(/l_hard/);
  const array = commands({ qstat: [text('qstat-j-array.xml')] });
  const id = /<JB_job_number>(\d+)</.exec(text('qstat-j-array.xml'))?.[1] as string;
  const one = { key: { scheduler: 'gridengine', jobId: id, task: '2' } } as never;
  expect(await obstacleToRaise(one, array.run, signal)).toMatch(/task of an array/);
  // Nothing is altered to find out.
  expect([...closed.calls, ...array.calls]).toEqual([]);
});

it('releases what it held, unless the job is gone', async () => {
  const held = commands({ qstat: [waiting] });
  await releaseNext(request, held.run, signal);
  expect(held.calls).toEqual(['qalter -h S 15']);
  const gone = commands({ qstat: [text('qstat-unknown.xml')] });
  await releaseNext(request, gone.run, signal);
  expect(gone.calls).toEqual([]);
});

it("notes a size in the job's context, for each task by itself", async () => {
  const { calls, run } = commands({});
  await noteSize(request, { memoryBytes: 300 * MiB, cpus: 1 }, run, signal);
  const task = { key: { scheduler: 'gridengine', jobId: '15', task: '7' } } as never;
  await noteSize(task, undefined, run, signal);
  expect(calls).toEqual([
    'qalter -ac caddis_memory=300M,caddis_cpus=1 15',
    'qalter -dc caddis_memory_7,caddis_cpus_7 15',
  ]);
});
