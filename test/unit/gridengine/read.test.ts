import { describe, expect, it } from 'vitest';

import { parsePasswd } from '../../../src/scheduler/gridengine/accounts.ts';
import { readEpilog } from '../../../src/scheduler/gridengine/read-epilog.ts';
import { readProlog } from '../../../src/scheduler/gridengine/read-prolog.ts';
import { readStep } from '../../../src/scheduler/gridengine/read-step.ts';
import { BadHookCall } from '../../../src/scheduler/scheduler.ts';
import { findAccount, recorded } from './fixture.ts';

const prolog = (name: string, trustJsv = true, env: Record<string, string> = {}) => {
  const { call, readConfig } = recorded(name);
  return readProlog({ ...call, env: { ...call.env, ...env } }, findAccount, { trustJsv, readConfig });
};
const step = (name: string, env: Record<string, string> = {}) => {
  const { call, readConfig } = recorded(name);
  return readStep({ ...call, env: { ...call.env, ...env } }, findAccount, readConfig);
};

describe('readProlog', () => {
  it('reads job, user and request of a script job', () => {
    expect(prolog('prolog-script')).toMatchObject({
      key: { scheduler: 'gridengine', jobId: '1', task: '1' },
      restartCount: 0,
      user: 'alice',
      uid: 1001,
      gid: 1002,
      cpus: 1,
      memoryBytes: 2 ** 30,
      memorySource: 'h_vmem=1G',
      scratchBytes: undefined,
      queue: 'all.q',
      requeueable: true,
      jobName: 'script',
    });
  });
  it('multiplies memory per slot by the slots on this host', () => {
    expect(prolog('prolog-smp')).toMatchObject({
      cpus: 2,
      memoryBytes: 2 ** 31,
      memorySource: 'h_vmem=1G x 2 slots',
    });
  });
  it('tells the tasks of an array apart', () => {
    expect(prolog('prolog-array-task').key).toEqual({ scheduler: 'gridengine', jobId: '4', task: '2' });
  });
  it('cannot requeue a qrsh', () => expect(prolog('prolog-qrsh').requeueable).toBe(false));
  it('believes CADDIS_MEM only where our JSV writes it', () => {
    expect(prolog('prolog-script', false).memoryBytes).toBeUndefined();
    expect(prolog('prolog-script', true, { CADDIS_MEM: '0 none' }).memoryBytes).toBeUndefined();
    expect(prolog('prolog-script', true, { CADDIS_MEM: 'lots' }).memoryBytes).toBeUndefined();
  });
  it('counts a restart', () =>
    expect(prolog('prolog-script', true, { RESTARTED: '1' }).restartCount).toBe(1));
  it('names the variable that is wrong', () => {
    expect(() => prolog('prolog-script', true, { JOB_ID: '../1' })).toThrow(BadHookCall);
    expect(() => prolog('prolog-script', true, { JOB_ID: '' })).toThrow(/JOB_ID/);
    expect(() => prolog('prolog-script', true, { SGE_TASK_ID: 'x' })).toThrow(/SGE_TASK_ID/);
  });
});

describe('readEpilog', () => {
  it('knows a job that asked to be run again by exit status 99', () => {
    const { call } = recorded('epilog-script');
    expect(readEpilog(call)).toEqual({
      key: { scheduler: 'gridengine', jobId: '1', task: '1' },
      requeued: false,
    });
    expect(readEpilog({ ...call, env: { ...call.env, SGE_JOBEXIT_STAT: '99' } }).requeued).toBe(true);
  });
});

describe('readStep starts what the builtin starter would', () => {
  const script = '/var/spool/gridengine/execd/n1/job_scripts/1';
  it('executes a script itself under unix_behavior, and carries it', () => {
    expect(step('script')).toMatchObject({
      name: 'batch',
      argv: [script, 'a', 'b c'],
      program: undefined,
      carry: [{ path: script, uid: 1001 }],
    });
  });
  it('gives the script to the login shell under posix_compliant', () => {
    const { call, readConfig } = recorded('script');
    const plan = readStep(call, findAccount, () => ({ ...readConfig(), shellStartMode: 'posix_compliant' }));
    expect(plan).toMatchObject({ argv: ['-sh', script, 'a', 'b c'], program: '/bin/sh' });
  });
  it('joins the words of -b y for the shell', () => {
    expect(step('binary')).toMatchObject({
      argv: ['-sh', '-c', 'echo x y $HOME'],
      program: '/bin/sh',
      carry: [],
    });
  });
  it('keeps the words of -b y -shell n', () => {
    expect(step('binary-no-shell')).toMatchObject({ argv: ['/bin/echo', 'x y', '$HOME'], pathSearch: true });
  });
  it('runs a qrsh command with the shell of the account', () => {
    const argv = ['bash', '-c', 'echo hi  there $HOME'];
    expect(step('qrsh-command')).toMatchObject({ name: 'interactive', argv, program: '/bin/bash' });
  });
  it('names a slave task after its spool', () => {
    expect(step('petask')).toMatchObject({
      name: 'petask 1.n1',
      argv: ['bash', '-c', 'echo pe  task $HOME'],
    });
  });
  it('hides the variables of starter and Caddis, keeps the others', () => {
    const { env } = step('script');
    expect(Object.keys(env).filter((name) => /^(CADDIS_|SGE_STARTER_)/.test(name))).toEqual([]);
    expect(env).toMatchObject({ JOB_ID: '1', SGE_TASK_ID: 'undefined', TMPDIR: '/tmp/1.1.all.q' });
  });
  it('carries nothing from outside the spool', () => {
    const { call, readConfig } = recorded('script');
    const args = ['--', '/var/spool/gridengine/execd/n1/job_scripts/../../../../etc/shadow'];
    expect(readStep({ ...call, args }, findAccount, readConfig).carry).toEqual([]);
    expect(() => readStep({ ...call, args: ['--'] }, findAccount, readConfig)).toThrow(BadHookCall);
  });
});

it('parsePasswd refuses what is no account', () => {
  expect(parsePasswd('a:x:1:2::/h:\n', 'a')).toEqual({
    name: 'a',
    uid: 1,
    gid: 2,
    home: '/h',
    shell: '/bin/sh',
  });
  expect(() => parsePasswd('', 'nobody2')).toThrow(/getent passwd nobody2/);
});
