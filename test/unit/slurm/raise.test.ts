import { expect, it } from 'vitest';

import { adminCommentWith, noteSize } from '../../../src/scheduler/slurm/note-size.ts';
import { raiseMemory } from '../../../src/scheduler/slurm/raise.ts';
import { printed } from './fixtures.ts';

const MiB = 1024 ** 2;
const signal = AbortSignal.timeout(5_000);
const key = { scheduler: 'slurm', jobId: '38', task: '0' } as const;
const running = printed('show-job-batch');

function commands(...jobs: readonly string[]) {
  const calls: string[] = [];
  let asked = 0;
  const run = async (argv: readonly string[]) => {
    if (argv.includes('show')) return jobs[Math.min(asked++, jobs.length - 1)] as string;
    calls.push(argv.join(' '));
    return '';
  };
  return { calls, run };
}

it('raises a request once the task waits, by the name of that very task', async () => {
  const pending = running
    .replace('JobState=RUNNING', 'JobState=PENDING')
    .replace('JobId=38 ', 'JobId=38 ArrayJobId=30 ArrayTaskId=8 ');
  const { calls, run } = commands(running, pending);
  await raiseMemory(key, 300 * MiB + 1, ['n1'], signal, run);
  expect(calls).toEqual(['scontrol update jobid=30_8 MinMemoryNode=301']);
});

it('raises nothing of a job that was cancelled on its way', async () => {
  const { calls, run } = commands(running, running.replace('JobState=RUNNING', 'JobState=CANCELLED'));
  await expect(raiseMemory(key, MiB, ['n1'], signal, run)).rejects.toThrow(/is CANCELLED/);
  expect(calls).toEqual([]);
});

it('notes a size beside what the site has written, and takes its own word back', async () => {
  expect(adminCommentWith('cost=7', 'memory=300m,cpus=1')).toBe('cost=7 caddis-grown:memory=300m,cpus=1');
  expect(adminCommentWith('cost=7 caddis-grown:memory=300m,cpus=1', 'memory=400m,cpus=1')).toBe(
    'cost=7 caddis-grown:memory=400m,cpus=1',
  );
  expect(adminCommentWith('cost=7 caddis-grown:memory=300m,cpus=1', undefined)).toBe('cost=7');
  const commented = running.replace(' StdErr=', ' AdminComment=of the site StdErr=');
  expect(commented).not.toBe(running);
  const { calls, run } = commands(commented);
  await noteSize({ key } as never, { memoryBytes: 300 * MiB, cpus: 2 }, ['n1'], signal, run);
  expect(calls).toEqual([
    'scontrol update jobid=38 AdminComment=of the site caddis-grown:memory=300m,cpus=2',
  ]);
  await noteSize({ key } as never, undefined, ['n1'], signal, run);
  expect(calls).toHaveLength(1);
});

it("leaves a comment alone that cannot be told from the user's own words", async () => {
  const text = running
    .replace('JobName=my job name', 'JobName=x AdminComment=y')
    .replace(' StdErr=', ' AdminComment=of the site StdErr=');
  const { calls, run } = commands(text);
  await noteSize({ key } as never, { memoryBytes: MiB, cpus: 2 }, ['n1'], signal, run);
  expect(calls).toEqual([]);
});
