import { constants } from 'node:os';

import { describe, expect, it } from 'vitest';

import { meaning } from '../../../src/scheduler/slurm/meaning.ts';
import { printed } from './fixtures.ts';

const { SIGTERM, SIGTSTP } = constants.signals;
const request = { key: { scheduler: 'slurm', jobId: '38', task: '0' }, restartCount: 0 } as Parameters<
  typeof meaning
>[0];

/** What a signal meant, when slurmctld answers with these records one after the other; and what was run. */
async function ask(number: number, ...records: string[]) {
  const calls: string[] = [];
  const run = async (argv: readonly string[]) => {
    calls.push(argv.join(' '));
    return argv.includes('show')
      ? records.length > 1
        ? (records.shift() as string)
        : (records[0] as string)
      : '';
  };
  const verdict = await meaning(request, number, ['n1'], AbortSignal.timeout(5_000), run);
  return { verdict, calls };
}

const running = printed('show-job-batch');

describe('what a signal meant', () => {
  it('is a cancel when the job is ending and was not started again', async () => {
    const { verdict, calls } = await ask(SIGTERM, running.replace('JobState=RUNNING', 'JobState=COMPLETING'));
    expect(verdict).toBe('deliver');
    expect(calls).toHaveLength(1);
  });

  it('is a requeue when slurmctld has counted a restart', async () => {
    const counted = running
      .replace('Restarts=0', 'Restarts=1')
      .replace('JobState=RUNNING', 'JobState=COMPLETING');
    expect(await ask(SIGTERM, counted)).toMatchObject({ verdict: 'requeued' });
  });

  it('is a suspension, also when that is written down a moment late', async () => {
    const suspended = running.replace('JobState=RUNNING', 'JobState=SUSPENDED');
    expect((await ask(SIGTSTP, suspended)).verdict).toBe('suspended');
    const late = await ask(SIGTSTP, running, suspended);
    expect(late.verdict).toBe('suspended');
    expect(late.calls).toHaveLength(2);
  });

  it('is a stop of the user’s own when the job goes on running', async () => {
    expect((await ask(SIGTSTP, running)).verdict).toBe('deliver');
  });

  it('is a preemption with a grace time: the job is put back at once', async () => {
    const preempted = running.replace(' TimeLimit=', ' PreemptTime=2026-11-24T20:00:00 TimeLimit=');
    expect(preempted).not.toBe(running);
    const { verdict, calls } = await ask(SIGTERM, preempted);
    expect(verdict).toBe('requeued');
    expect(calls.at(-1)).toBe('scontrol requeue 38');
  });

  it('is the end of a job whose time is over, whatever its name says', async () => {
    const over = running
      .replace('JobName=my job name', 'JobName=x PreemptTime=2026-11-24T20:00:00')
      .replace('JobState=RUNNING', 'JobState=COMPLETING');
    expect(over).toContain('PreemptTime');
    const { verdict, calls } = await ask(SIGTERM, over);
    expect(verdict).toBe('deliver');
    expect(calls.filter((call) => call.includes('requeue'))).toEqual([]);
  });
});
