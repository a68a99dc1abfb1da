import { expect, it } from 'vitest';

import type { EndedJob } from '../../../src/model/usage.ts';
import { SchedulerUnavailable } from '../../../src/scheduler/scheduler.ts';
import { SlurmRefused } from '../../../src/scheduler/slurm/commands.ts';
import {
  mergeComment,
  parseAccount,
  reportUsage,
  usageWord,
} from '../../../src/scheduler/slurm/report-usage.ts';

const MiB = 1024 * 1024;
const ENDED: EndedJob = {
  ...{ job: 'slurm-1', job_name: 'A "b"', user: 'alice', uid: 1001, queue: 'main' },
  ...{ ended_at: '2026-01-01T00:00:00.000Z', wall_seconds: 99.6, cpus: 2, cpu_seconds: 110.126 },
  ...{
    cpu_efficiency: 0.553,
    host_cpu_seconds: 120,
    memory_limit_bytes: 700 * MiB,
    memory_asked: '--mem=700M',
  },
  ...{ memory_held_peak_bytes: 240 * MiB - 1, memory_peak_bytes: 500 * MiB, oom_kills: 0 },
};
const WORD =
  'caddis:cpu=110.13,host_cpu=120.00,wall=100,cpus=2,cpu_eff=55%,mem_peak=240m,mem_max=500m,mem_limit=700m,oom=0';
/** sacct, as it was seen for the last task of an array, whose raw id is the array's. */
const ARRAY = (comment: string) => `2|1_1|COMPLETED|\n1|1_2|COMPLETED|${comment}\n`;
const key = { scheduler: 'slurm', jobId: '1', task: '0' } as const;

function slurm(answer: string) {
  const calls: (readonly string[])[] = [];
  const run = async (argv: readonly string[]) => {
    calls.push(argv);
    return argv[0] === 'sacct' ? answer : '';
  };
  return { calls, report: () => reportUsage(ENDED, key, run, new AbortController().signal) };
}

it('writes one word of small letters without blanks or quotes', () => {
  expect(usageWord(ENDED)).toBe(WORD);
  expect(WORD).toMatch(/^[a-z0-9_:=.,%]+$/);
});

it('keeps what a site has there, and replaces its own', () => {
  expect(mergeComment('', WORD)).toBe(WORD);
  expect(mergeComment('grant 7 caddis:cpu=1 x|y', WORD)).toBe(`grant 7 x|y ${WORD}`);
});

it('finds this very task, whatever its comment holds', () => {
  expect(parseAccount(ARRAY('a|b'), '1')).toEqual({ name: '1_2', state: 'COMPLETED', comment: 'a|b' });
  expect(parseAccount(ARRAY(''), '12')).toBeUndefined();
});

it('names the task, not the array, to slurmdbd, and asks slurmctld nothing', async () => {
  const { calls, report } = slurm(ARRAY('grant 7'));
  await report();
  expect(calls.map(([program]) => program)).toEqual(['sacct', 'sacctmgr']);
  expect(calls[1]).toContain('jobid=1_2');
  expect(calls[1]?.at(-1)).toBe(`AdminComment=grant 7 ${WORD}`);
});

it('waits for a job that has not ended there, and leaves a comment alone that sacctmgr would spoil', async () => {
  await expect(slurm('').report()).rejects.toThrow(SchedulerUnavailable);
  await expect(slurm('1|1|RUNNING|').report()).rejects.toThrow(SchedulerUnavailable);
  const spoilt = slurm(ARRAY('{"A":1}'));
  await expect(spoilt.report()).rejects.toThrow(SlurmRefused);
  expect(spoilt.calls).toHaveLength(1);
});
