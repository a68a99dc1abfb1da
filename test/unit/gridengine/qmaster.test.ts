import { mkdtempSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { BackOff } from '../../../src/scheduler/gridengine/back-off.ts';
import { createGridEngine } from '../../../src/scheduler/gridengine/index.ts';
import { parseQstatJob } from '../../../src/scheduler/gridengine/qstat.ts';
import { SchedulerUnavailable } from '../../../src/scheduler/scheduler.ts';
import { findAccount, text } from './fixture.ts';

const signal = AbortSignal.timeout(5_000);
const runDir = mkdtempSync(join(tmpdir(), 'caddis-refusals-'));
const request = {
  key: { scheduler: 'gridengine', jobId: '18', task: '3' },
  restartCount: 0,
  user: 'alice',
  uid: 1001,
  gid: 1002,
  cpus: 2,
  memoryBytes: undefined,
  memorySource: undefined,
  scratchBytes: undefined,
  queue: 'all.q',
  vm: undefined,
  devices: undefined,
  hosts: 1,
  requeueable: true,
  jobName: 'held',
  workDir: '/',
} as const;

/** An adapter whose commands are answered by `answer` and kept in `calls`. */
function adapter(answer: (argv: readonly string[]) => string) {
  const calls: string[] = [];
  const run = async (argv: readonly string[]) => {
    calls.push(argv.join(' '));
    return answer(argv);
  };
  const options = {
    binDir: '/usr/bin',
    spoolDir: '/spool',
    environment: {},
    host: 'n1',
    runDir,
    firstBackOffMs: 1,
    findAccount,
    run,
  };
  return { calls, scheduler: createGridEngine(options) };
}

describe('qstat -xml -j', () => {
  it('reads requests of a waiting array, whose tasks are nowhere yet', () => {
    const job = parseQstatJob(text('qstat-j-held-array.xml'), '18');
    expect(job?.hard.get('vm_mem')).toEqual({ text: '1G', value: 2 ** 30 });
    expect([...(job?.activeTasks ?? ['none'])]).toEqual([]);
  });
  it('reads the tasks that run', () => {
    expect([...(parseQstatJob(text('qstat-j.xml'), '15')?.activeTasks ?? [])]).toEqual(['1']);
  });
  it('tells an unknown job from no answer', () => {
    expect(parseQstatJob(text('qstat-unknown.xml'), '9999')).toBeUndefined();
    expect(() => parseQstatJob('error: commlib', '1')).toThrow(SchedulerUnavailable);
  });
});

describe('createGridEngine', () => {
  it('knows a suspended task from one that somebody froze', async () => {
    const { calls, scheduler } = adapter(
      () => `<?xml version='1.0'?><job_info><queue_info>
        <job_list state="running"><JB_job_number>17</JB_job_number><state>s</state></job_list>
        <job_list state="running"><JB_job_number>18</JB_job_number><state>s</state><tasks>3</tasks></job_list>
      </queue_info><job_info></job_info></job_info>`,
    );
    expect(await scheduler.meaning(request, 0, signal)).toBe('suspended');
    expect(await scheduler.meaning({ ...request, key: { ...request.key, task: '4' } }, 0, signal)).toBe(
      'deliver',
    );
    expect(calls[0]).toBe('qstat -xml -u * -s s');
  });
  it('completes memory with one query', async () => {
    const { calls, scheduler } = adapter(() => text('qstat-j-held-array.xml'));
    const completed = await scheduler.complete(request, { jitterMs: 0, signal });
    expect(completed).toMatchObject({ memoryBytes: 2 ** 31, memorySource: 'vm_mem=1G x 2 slots' });
    await scheduler.complete(completed, { jitterMs: 0, signal });
    expect(calls).toEqual(['qstat -xml -j 18']);
  });
  it('requeues this very task, never the array', async () => {
    const { calls, scheduler } = adapter(() => 'Pushed rescheduling of job 18.3 on host n1');
    expect(await scheduler.lost(request, 'gone', signal)).toBe('requeued');
    expect(calls).toEqual(['qmod -rj 18.3']);
    expect(await scheduler.lost({ ...request, requeueable: false }, 'gone', signal)).toBe('failing');
  });
  it('sees that a job with -r n stays', async () => {
    const { scheduler } = adapter(() => 'The job 18 is not restartable');
    expect(await scheduler.lost(request, 'gone', signal)).toBe('failing');
  });
  it('sends a refused batch job back and never puts a queue into E', async () => {
    const { scheduler } = adapter(() => '');
    expect(await scheduler.refuse(request, 'no memory', signal)).toEqual({ exitCode: 99 });
  });
  it('sends a borrower back with the reason in its context', async () => {
    const { calls, scheduler } = adapter(() => '');
    expect(await scheduler.sendBack(request, 'needs 300 MiB, 1 left', signal)).toEqual({ exitCode: 99 });
    expect(calls).toEqual(['qalter -ac caddis_slack=sent_back:_needs_300_MiB_1_left 18']);
    const silent = adapter(() => {
      throw new SchedulerUnavailable('no');
    });
    expect(await silent.scheduler.sendBack(request, 'x', signal)).toEqual({ exitCode: 99 });
    const told = await scheduler.sendBack({ ...request, requeueable: false }, 'x', signal);
    expect(told).toEqual({ exitCode: 0 });
  });
  it('lets an interactive job start, to fail with the reason', async () => {
    const { scheduler } = adapter(() => '');
    const told = await scheduler.refuse({ ...request, requeueable: false }, 'no memory', signal);
    expect(told).toEqual({ exitCode: 0 });
    expect(await readFile(join(runDir, 'jobs/gridengine-18.3'), 'utf8')).toBe('caddis: no memory\n');
  });
  it('holds the slot of a task that comes back longer each time', async () => {
    const backOff = new BackOff(10);
    const taken: number[] = [];
    for (let i = 0; i < 4; i++) {
      const start = performance.now();
      await backOff.wait(request.key, signal);
      taken.push(performance.now() - start);
    }
    expect(taken[0]).toBeGreaterThan(8);
    expect(taken[3]).toBeGreaterThan(75);
  });
  it('knows a start on another host from one here', async () => {
    const isRunningWhen = async (listedHere: string[], listed: string[]) => {
      const jobs = (queues: string[]) =>
        `<job_info><queue_info>${queues.map(
          (queue) =>
            `<job_list state="running"><JB_job_number>15</JB_job_number><state>r</state><queue_name>${queue}</queue_name></job_list>`,
        )}</queue_info><job_info></job_info></job_info>`;
      const { scheduler } = adapter((argv) =>
        argv.includes('-j') ? text('qstat-j.xml') : jobs(argv.includes('-q') ? listedHere : listed),
      );
      const key = { scheduler: 'gridengine', jobId: '15', task: '1' } as const;
      return scheduler.isRunning(key, signal);
    };
    expect(await isRunningWhen(['move.q@n1'], [])).toBe(true);
    expect(await isRunningWhen([], ['move.q@n2.cluster'])).toBe(false);
    // Queue instances are named with a domain here; or it is on its way.
    expect(await isRunningWhen([], ['move.q@n1.cluster'])).toBe(true);
    expect(await isRunningWhen([], [])).toBe(true);
  });
  it('says undefined, not false, when the qmaster is silent', async () => {
    const { scheduler } = adapter(() => {
      throw new SchedulerUnavailable('no');
    });
    expect(await scheduler.isRunning(request.key, signal)).toBeUndefined();
  });
  it('opens only what it closed itself', async () => {
    const open = adapter(() => 'hostname n1\ncomplex_values NONE\n');
    await open.scheduler.setNodeHealth({ ok: true }, signal);
    expect(open.calls).toEqual(['qconf -se n1']);
    const closed = adapter(() => 'complex_values vm_mem=8G,caddis_down=caddis:_x\n');
    await closed.scheduler.setNodeHealth({ ok: true }, signal);
    expect(closed.calls.slice(1)).toEqual([
      'qmod -e *@n1',
      'qconf -dattr exechost complex_values caddis_down n1',
    ]);
    await open.scheduler.setNodeHealth({ ok: false, reason: 'libvirtd, dead' }, signal);
    expect(open.calls.slice(2)).toEqual([
      'qconf -mattr exechost complex_values caddis_down=caddis:_libvirtd_dead n1',
      'qmod -d *@n1',
    ]);
  });
});
