import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { SchedulerUnavailable } from '../../../src/scheduler/scheduler.ts';
import { SlurmRefused } from '../../../src/scheduler/slurm/commands.ts';
import { createSlurm, type SlurmOptions } from '../../../src/scheduler/slurm/index.ts';
import { withReason } from '../../../src/scheduler/slurm/send-back.ts';
import { printed, recorded } from './fixtures.ts';

const signal = AbortSignal.timeout(10_000);
let runDir: string;
let commands: string[];

beforeEach(async () => {
  runDir = await mkdtemp(join(tmpdir(), 'caddis-slurm-'));
  commands = [];
});
afterEach(() => rm(runDir, { recursive: true }));

/** Slurm whose commands answer with `answers` by the start of the command line; an Error is thrown. */
function slurm(answers: Record<string, string | Error>, more: Partial<SlurmOptions> = {}) {
  return createSlurm({
    ...more,
    binDir: '/usr/bin',
    spoolDir: '/var/spool/slurmd',
    environment: {},
    node: 'n1',
    runDir,
    run: async (argv) => {
      const line = argv.join(' ');
      commands.push(line);
      const found = Object.entries(answers).find(([start]) => line.startsWith(start));
      if (!found) throw new Error(`unexpected command: ${line}`);
      if (found[1] instanceof Error) throw found[1];
      return found[1];
    },
  });
}

const baseTask = recorded('prolog-array-base-task', { SLURM_JOB_ID: '39' });

describe('refuse', () => {
  it('requeues one task of an array, never the array, and answers 0', async () => {
    const scheduler = slurm({ 'scontrol --local': printed('show-job-array'), 'scontrol requeue': '' });
    const answer = await scheduler.refuse(scheduler.readProlog(baseTask), 'image missing', signal);
    expect(answer).toEqual({ exitCode: 0 });
    expect(commands.at(-1)).toBe('scontrol requeue 39_3');
  });

  it('does not bring back to life a job that was cancelled while it started', async () => {
    const ends = printed('show-job-array').replaceAll(/JobState=\w+/g, 'JobState=COMPLETING');
    const scheduler = slurm({ 'scontrol --local': ends });
    const request = scheduler.readProlog(baseTask);
    expect(await scheduler.refuse(request, 'image missing', signal)).toEqual({ exitCode: 0 });
    expect(await scheduler.sendBack(request, 'nothing is left', signal)).toEqual({ exitCode: 0 });
    expect(commands.filter((command) => /requeue|update/.test(command))).toEqual([]);
  });

  it('leaves the reason for the steps of a job that cannot be requeued', async () => {
    const no = new SlurmRefused('Requested operation is presently disabled');
    const scheduler = slurm({ 'scontrol --local': printed('show-job-array'), 'scontrol requeue': no });
    expect(await scheduler.refuse(scheduler.readProlog(baseTask), 'image missing', signal)).toEqual({
      exitCode: 0,
    });
    expect(await readFile(join(runDir, 'jobs/slurm-39'), 'utf8')).toBe('caddis: image missing\n');
  });

  it('answers 0 and refuses the steps also when the controller is away', async () => {
    const scheduler = slurm({ scontrol: new SchedulerUnavailable('no controller') });
    expect((await scheduler.refuse(scheduler.readProlog(baseTask), 'image missing', signal)).exitCode).toBe(
      0,
    );
    expect(await readFile(join(runDir, 'jobs/slurm-39'), 'utf8')).toContain('image missing');
  });
});

describe('isRunning', () => {
  const key = (jobId: string) => ({ scheduler: 'slurm', jobId, task: '0' }) as const;

  it('is true on the node, false for the pending and the unknown, undefined without an answer', async () => {
    const answers = slurm({ 'scontrol --local': printed('show-job-array') });
    expect(await answers.isRunning(key('40'), signal)).toBe(true);
    expect(await answers.isRunning(key('39'), signal)).toBe(false);
    const unknown = slurm({ scontrol: new SlurmRefused('slurm_load_jobs error: Invalid job id specified') });
    expect(await unknown.isRunning(key('1'), signal)).toBe(false);
    const away = slurm({ scontrol: new SchedulerUnavailable('no controller') });
    expect(await away.isRunning(key('1'), signal)).toBeUndefined();
  });
});

describe('complete', () => {
  it('fills in what the prolog does not say, with one query', async () => {
    const scheduler = slurm({ 'scontrol --local': printed('show-job-batch') });
    const request = scheduler.readProlog(recorded('prolog-requeued'));
    const full = await scheduler.complete(request, { jitterMs: 0, signal });
    expect(full).toMatchObject({
      memoryBytes: 400 * 2 ** 20,
      scratchBytes: 2 ** 31,
      jobName: 'my job name',
      cpus: 2,
    });
    // How Slurm was built is asked beside it, once in caddisd's life.
    expect(commands.filter((command) => command !== 'scontrol show config')).toHaveLength(1);
  });
});

describe('a job that runs in slack', () => {
  const lent = `${printed('show-job-batch').trimEnd().replace('Power=', 'AdminComment=rack 7 [caddis: lent --mem=300M]  Power=')} TresPerNode=gres:slackmem:300`;
  const scavenge = { scavengePartitions: ['scavenge'] };
  const borrower = recorded('prolog-batch', { SLURM_JOB_ID: '38', SLURM_JOB_PARTITION: 'scavenge' });

  it('has the memory that it was lent, not the nominal one', async () => {
    const scheduler = slurm({ 'scontrol --local': lent }, scavenge);
    const request = scheduler.readProlog(borrower);
    expect(await scheduler.complete(request, { jitterMs: 0, signal })).toMatchObject({
      memoryBytes: 300 * 2 ** 20,
      memorySource: '--mem=300M',
    });
  });

  it('has no memory when nobody lent it any, and none of the GRES counts for an ordinary job', async () => {
    const bare = slurm({ 'scontrol --local': printed('show-job-batch') }, scavenge);
    const full = await bare.complete(bare.readProlog(borrower), { jitterMs: 0, signal });
    expect(full.memoryBytes).toBeUndefined();
    const ordinary = slurm({ 'scontrol --local': lent }, scavenge);
    const request = ordinary.readProlog(recorded('prolog-batch', { SLURM_JOB_ID: '38' }));
    const said = await ordinary.complete(request, { jitterMs: 0, signal });
    expect(said.memoryBytes).toBe(400 * 2 ** 20);
  });

  it('is sent back with the reason in its AdminComment, beside what is there', async () => {
    const scheduler = slurm({ 'scontrol --local': lent, 'scontrol update': '', 'scontrol requeue': '' });
    const request = scheduler.readProlog(borrower);
    expect(await scheduler.sendBack(request, 'needs 300 MiB; 100 MiB left', signal)).toEqual({ exitCode: 0 });
    expect(commands.slice(-2)).toEqual([
      'scontrol update jobid=38 AdminComment=rack 7 [caddis: lent --mem=300M; sent back by n1: needs 300 MiB 100 MiB left]',
      'scontrol requeue 38',
    ]);
    expect(withReason('rack 7 [caddis: lent --mem=300M; sent back by n1: x]', 'n2: y')).toBe(
      'rack 7 [caddis: lent --mem=300M; sent back by n2: y]',
    );
  });
});

describe('setNodeHealth', () => {
  const bad = { ok: false, reason: 'libvirtd is down' } as const;
  const show = (text: string) => slurm({ 'scontrol -o show node n1': text, 'scontrol update': '' });
  const ours = printed('show-node-drained');
  const admins = ours.replace('Reason=caddis: libvirtd is down', 'Reason=disk swap');

  it('drains a healthy node with our reason', async () => {
    await show(printed('show-node-idle')).setNodeHealth(bad, signal);
    expect(commands.at(-1)).toBe('scontrol update NodeName=n1 State=DRAIN Reason=caddis: libvirtd is down');
  });

  it('drains the shadow node with its host, also when slurmctld knows one of them only', async () => {
    const shadow = { scavengeNode: '{host}s' };
    const idle = printed('show-node-idle');
    const answers = { 'scontrol -o show node': idle, 'scontrol update': '' };
    await slurm(answers, shadow).setNodeHealth(bad, signal);
    expect(commands.filter((line) => line.includes('State=DRAIN'))).toHaveLength(2);
    commands = [];
    const unknown = { 'scontrol -o show node n1s': new SlurmRefused('Node n1s not found'), ...answers };
    await expect(slurm(unknown, shadow).setNodeHealth(bad, signal)).rejects.toThrow('n1s');
    expect(commands.at(-1)).toBe('scontrol update NodeName=n1 State=DRAIN Reason=caddis: libvirtd is down');
  });

  it('resumes what we drained, and nothing else', async () => {
    await show(ours).setNodeHealth({ ok: true }, signal);
    expect(commands.at(-1)).toBe('scontrol update NodeName=n1 State=RESUME');
    for (const text of [admins, printed('show-node-idle')]) {
      commands = [];
      await show(text).setNodeHealth({ ok: true }, signal);
      expect(commands).toHaveLength(1);
    }
  });

  it("says nothing twice, and never over an admin's drain", async () => {
    for (const text of [ours, admins]) {
      commands = [];
      await show(text).setNodeHealth(bad, signal);
      expect(commands).toHaveLength(1);
    }
  });
});
