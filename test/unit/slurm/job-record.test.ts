import { describe, expect, it } from 'vitest';

import { parseJobRecord } from '../../../src/scheduler/slurm/job-record.ts';
import { printed } from './fixtures.ts';

const MiB = 1024 * 1024;

describe('parseJobRecord', () => {
  it('reads a running batch job', () => {
    expect(parseJobRecord(printed('show-job-batch'), '38', ['n1'])).toEqual({
      jobId: '38',
      taskName: '38',
      state: 'RUNNING',
      reason: 'None',
      restarts: 0,
      requeueable: true,
      limitMs: undefined,
      ranMs: 2000,
      preempted: false,
      priority: 4294901727,
      heterogeneous: false,
      jobName: 'my job name',
      nodes: ['n1'],
      requiredNodes: '',
      memoryBytes: 400 * MiB,
      memorySource: '--mem-per-cpu=200M',
      cpus: 2,
      scratchBytes: 2048 * MiB,
      slackBytes: undefined,
      adminComment: '',
      start: {
        user: 'alice',
        uid: 1001,
        gid: 1002,
        partition: 'main',
        workDir: '/tmp/slurm/root/home/alice',
        hosts: 1,
        gpus: undefined,
      },
    });
  });

  it('reads what a job was lent, from nobody but slurmctld', () => {
    const batch = printed('show-job-batch').trimEnd();
    const lent = `${batch.replace('Power=', 'AdminComment=rack 7 [caddis: lent --mem=300M]  Power=')} TresPerNode=gres:slackmem:300`;
    expect(parseJobRecord(lent, '38', ['n1s', 'n1'])).toMatchObject({
      slackBytes: 300 * MiB,
      adminComment: 'rack 7 [caddis: lent --mem=300M]',
      memoryBytes: 400 * MiB,
    });
    const liar = lent.replace('my job name', 'x TresPerNode=gres:slackmem:9 AdminComment=y Power=');
    expect(parseJobRecord(liar, '38', ['n1'])).toMatchObject({
      slackBytes: undefined,
      adminComment: undefined,
    });
  });

  it('believes no name that gives the job memory where slurmctld says it in other words', () => {
    const spread = printed('show-job-batch').replace('NodeList=n1 ', 'NodeList=n[1-2] ');
    const named = (text: string, name: string) =>
      parseJobRecord(text.replace('my job name', name), '38', ['n1']);
    expect(spread).toContain('MinMemoryCPU=');
    expect(named(spread, 'x MinMemoryNode=100G')).toMatchObject({
      ...{ nodes: ['n1', 'n2'], memoryBytes: undefined, memorySource: undefined },
    });
    const later = printed('show-job-batch').replace(' TRES=', ' AllocTRES=');
    expect(named(later, 'x TRES=cpu=2,mem=1T')?.memoryBytes).toBeUndefined();
  });

  it('does not say who a job is of when its name speaks of that too', () => {
    const text = printed('show-job-batch');
    const named = (name: string) => parseJobRecord(text.replace('my job name', name), '38', ['n1'])?.start;
    expect(named('x UserId=root(0) GroupId=root(0)')).toBeUndefined();
    expect(named('x Partition=native')).toBeUndefined();
    expect(named('x WorkDir=/ StdErr=y')).toBeUndefined();
  });

  it('reads a time limit, with and without days', () => {
    const limited = (text: string) =>
      printed('show-job-batch').replace(/ TimeLimit=\S+/, ` TimeLimit=${text}`);
    expect(parseJobRecord(limited('00:01:00'), '38', ['n1'])?.limitMs).toBe(60_000);
    expect(parseJobRecord(limited('1-02:03:04'), '38', ['n1'])?.limitMs).toBe(93_784_000);
  });

  it('gives no share of a node that the job is not on', () => {
    expect(parseJobRecord(printed('show-job-batch'), '38', ['n2'])).toMatchObject({
      memoryBytes: undefined,
      cpus: undefined,
    });
  });

  it('of a job on several nodes knows what it asked for each', () => {
    const two = printed('show-job-batch').replace(' NodeList=n1', ' NodeList=n[1-2]');
    const asked = two.replace(/MinMemory(CPU|Node)=\S+/, 'MinMemoryNode=300M');
    expect(parseJobRecord(asked, '38', ['n2'])).toMatchObject({ memoryBytes: 300 * MiB, cpus: undefined });
  });

  it('names one task of an array, also by the raw id that is the id of the whole array', () => {
    const name = (id: string) => parseJobRecord(printed('show-job-array'), id, ['n1'])?.taskName;
    expect([name('39'), name('40'), name('41'), name('42')]).toEqual(['39_3', '39_1', '39_2', undefined]);
  });

  it('sees the wait of a requeued job', () => {
    expect(parseJobRecord(printed('show-job-requeued'), '38', ['n1'])).toMatchObject({
      state: 'PENDING',
      reason: 'BeginTime',
      restarts: 1,
      nodes: [],
    });
  });

  it('lets nobody speak for another job by a name or a comment', () => {
    const real = printed('show-job-batch');
    const named = (name: string) => parseJobRecord(real.replace('my job name', name), '38', ['n1']);
    expect(named('x ArrayJobId=5 ArrayTaskId=1')?.taskName).toBe('38');
    expect(named('x Requeue=1 JobState=RUNNING')).toMatchObject({ requeueable: false, state: 'UNKNOWN' });
    expect(named('x TRES=cpu=64,mem=999999M,node=1')?.memoryBytes).toBeUndefined();
    expect(named('x\nJobId=38 ArrayJobId=5 ArrayTaskId=1 JobName=x')).toBeUndefined();
  });
});
