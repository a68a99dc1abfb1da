import { describe, expect, it } from 'vitest';

import { gridEnginePlacement } from '../../../src/scheduler/gridengine/placement.ts';
import { SchedulerUnavailable } from '../../../src/scheduler/scheduler.ts';
import { text } from './fixture.ts';

const signal = AbortSignal.timeout(5_000);
const keyOf = (jobId: string) => ({ scheduler: 'gridengine', jobId, task: '1' }) as const;
const requestOf = (jobId: string) => ({ key: keyOf(jobId), queue: 'move.q' }) as never;

function placement(answers: Record<string, string | Error>) {
  const calls: string[] = [];
  const one = gridEnginePlacement('n1', async (argv) => {
    calls.push(argv.join(' '));
    const answer = answers[argv[0] as string] ?? '';
    if (answer instanceof Error) throw answer;
    return answer;
  });
  return { one, calls };
}

describe("a job's queues", () => {
  it('are those of its -q, and what it is given back', async () => {
    const { one, calls } = placement({ qstat: text('qstat-j-queue.xml') });
    expect(await one.current(keyOf('1'), signal)).toBe('move.q');
    await one.restore(keyOf('1'), 'move.q', signal);
    await one.restore(keyOf('1'), '', signal);
    expect(calls.slice(1)).toEqual(['qalter -q move.q 1', 'qalter -q * 1']);
  });

  it.each([
    ['', '*@n2'],
    ['move.q', 'move.q@n2'],
    ['all.q@n1,all.q@n3,x.q', 'all.q@n2,x.q@n2'],
    ['@group', '*@n2'],
  ])('"%s" on one host are %s', async (before, bound) => {
    const { one, calls } = placement({});
    await one.bind(keyOf('1'), 'n2', before, signal);
    expect(calls).toEqual([`qalter -q ${bound} 1`]);
  });

  it('cannot be changed where a JSV forbids it, which says what to do', async () => {
    const said = 'rejected due to jsv_allowed_mod configuration which does not allow: q_hard';
    const { one } = placement({ qalter: new SchedulerUnavailable(said) });
    await expect(one.bind(keyOf('1'), 'n2', '', signal)).rejects.toThrow(/add q_hard to jsv_allowed_mod/);
  });

  it('are not bound to the host where the job is, to one without its queue, or of an array', async () => {
    const single = placement({ qstat: text('qstat-j-queue.xml') }).one;
    await expect(single.check(requestOf('1'), 'n2', signal)).resolves.toBeUndefined();
    await expect(single.check(requestOf('1'), 'n1', signal)).rejects.toThrow(/on n1 already/);
    const array = placement({ qstat: text('qstat-j-array.xml') }).one;
    await expect(array.check(requestOf('28'), 'n2', signal)).rejects.toThrow(/is an array/);
    const unknown = placement({ qstat: text('qstat-j-queue.xml'), qselect: new Error('rc 1') }).one;
    await expect(unknown.check(requestOf('1'), 'nosuch', signal)).rejects.toThrow(/no host "nosuch"/);
  });
});
