import { describe, expect, it } from 'vitest';

import { SlurmRefused } from '../../../src/scheduler/slurm/commands.ts';
import { nodesOf } from '../../../src/scheduler/slurm/nodes.ts';
import { slurmPlacement } from '../../../src/scheduler/slurm/placement.ts';
import { printed } from './fixtures.ts';

const signal = AbortSignal.timeout(5_000);
const key = { scheduler: 'slurm', jobId: '38', task: '0' } as const;
const request = { key, queue: 'main' } as never;
/** As scontrol of Slurm 22.05 prints it. */
const NODE =
  'NodeName=n2 Arch=x86_64 NodeAddr=10.77.0.12 NodeHostName=n2 State=IDLE ThreadsPerCore=1 Partitions=main,native  BootTime=2026-11-25T10:59:03';

function placement(jobs: readonly string[], node: string | Error = NODE) {
  const calls: string[] = [];
  let asked = 0;
  const one = slurmPlacement(nodesOf('n1', '{host}s'), async (argv) => {
    const line = argv.join(' ');
    if (line.includes('show job')) return jobs[Math.min(asked++, jobs.length - 1)] as string;
    if (!line.includes('show node')) {
      calls.push(line);
      return '';
    }
    if (node instanceof Error) throw node;
    return node;
  });
  return { one, calls };
}

describe("a job's nodes", () => {
  const running = printed('show-job-batch');
  const pending = running.replace('JobState=RUNNING', 'JobState=PENDING');
  const leaving = running.replace('JobState=RUNNING', 'JobState=COMPLETING');

  it("are the other host's shadow node, where it runs in slack", async () => {
    const { one, calls } = placement([`${pending.trimEnd()} TresPerNode=gres:slackmem:300`]);
    await one.bind(key, 'n2', '', signal);
    expect(calls).toEqual(['scontrol update jobid=38 ReqNodeList=n2s']);
  });

  it('are changed once it waits', async () => {
    const { one, calls } = placement([leaving, leaving, pending]);
    await one.bind(key, 'n2', '', signal);
    expect(calls).toEqual(['scontrol update jobid=38 ReqNodeList=n2']);
    await one.restore(key, '', signal);
    expect(calls.at(-1)).toBe('scontrol update jobid=38 ReqNodeList=');
  });

  it('are not waited for when it does not go back', async () => {
    const cancelled = running.replace('JobState=RUNNING', 'JobState=CANCELLED');
    const { one, calls } = placement([leaving, cancelled]);
    await expect(one.bind(key, 'n2', '', signal)).rejects.toThrow(/does not go back to the queue/);
    expect(calls).toEqual([]);
  });

  it('are what it was told before', async () => {
    expect(await placement([running]).one.current(key, signal)).toBe('');
    const bound = running.replace('ReqNodeList=(null)', 'ReqNodeList=n[1-2]');
    expect(bound).not.toBe(running);
    expect(await placement([bound]).one.current(key, signal)).toBe('n[1-2]');
  });

  it.each([
    ['n1', NODE, /on n1 already/],
    ['nosuch', new SlurmRefused('Node nosuch not found'), /no node "nosuch"/],
    ['n2', NODE.replace('main,native', 'native'), /not in the job's partition main/],
    ['n2', NODE.replace('State=IDLE', 'State=IDLE+DRAIN'), /takes no jobs now: it is IDLE\+DRAIN/],
    ['n2', NODE.replace('State=IDLE', 'State=DOWN*'), /takes no jobs now/],
  ])('cannot be %s: %s', async (host, node, why) => {
    await expect(placement([running], node).one.check(request, host, signal)).rejects.toThrow(why);
  });

  it('may be one that takes jobs', async () => {
    await expect(placement([running]).one.check(request, 'n2', signal)).resolves.toBeUndefined();
  });
});
