import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import type { Lab } from '../../lab/host.ts';
import { until } from '../../lab/process.ts';
import { asUser, type BatchJob, jobDirectory, runBatch, submit, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';

const bash = (body: string) => `#!/bin/bash\n${body}\n`;
/** For one job from its submission to its end: a boot takes 4 s alone and 90 s beside six others under TCG. */
const WAIT_MS = 200_000;
const SMALL = ['-l', 'h_vmem=300M'];

/** Variables that differ between two runs of one job, or that only a machine or only a native job has, and why. */
const EXPLAINED: Readonly<Record<string, string>> = {
  JOB_ID: 'another job',
  JOB_SCRIPT: 'named after the job id',
  TMPDIR: 'holds the job id and the queue',
  TMP: 'holds the job id and the queue',
  QUEUE: 'the native job runs in native.q',
  HOSTNAME: 'either node',
  SGE_JOB_SPOOL_DIR: 'holds host and job id',
  SGE_CWD_PATH: 'another directory',
  SGE_STDOUT_PATH: 'another directory',
  SGE_STDERR_PATH: 'another directory',
  SGE_STDIN_PATH: 'another directory',
  SGE_O_WORKDIR: 'another directory',
  PWD: 'another directory',
  PE_HOSTFILE: 'holds the job id',
  SGE_ARCH: 'never different, kept for other versions',
  PATH: 'begins with TMPDIR',
  CADDIS_MEM: 'set by our JSV for the prolog',
  CADDIS_TMP: 'set by our JSV for the prolog',
  CADDIS_DEVICES: 'set by our JSV for the prolog',
  SGE_CKPT_ENV: 'our JSV gives the job a checkpoint environment',
  SGE_CKPT_DIR: 'our JSV gives the job a checkpoint environment',
};

/** What only Grid Engine does: each beside the same job in a queue without machines, where that can be compared. */
describe('Grid Engine', { timeout: WAIT_MS + 40_000 }, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });

  const both = async (job: BatchJob) =>
    Promise.all([
      runBatch(lab, 'gridengine', 'native', { ...job, timeoutMs: WAIT_MS }),
      runBatch(lab, 'gridengine', 'vm', {
        ...job,
        options: [...SMALL, ...(job.options ?? [])],
        timeoutMs: WAIT_MS,
      }),
    ]);
  const same = async (job: BatchJob) => {
    const [native, vm] = await both(job);
    const seen = ({ stdout, stderr, exitCode, state }: typeof vm) => ({ stdout, stderr, exitCode, state });
    expect(seen(vm)).toEqual(seen(native));
    return vm;
  };

  it.concurrent('gives a job the environment that it has natively, but for an explained list', async () => {
    const [native, vm] = await both({
      script: bash('env | sort'),
      options: ['-v', 'CHOSEN=a b'],
    });
    const read = (text: string) =>
      Object.fromEntries(
        text
          .split('\n')
          .filter((line) => /^\w+=/.test(line))
          .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const)
          .filter(([name]) => !(name in EXPLAINED)),
      );
    expect(read(vm.stdout)).toEqual(read(native.stdout));
    expect(read(vm.stdout)).toMatchObject({ CHOSEN: 'a b', ENVIRONMENT: 'BATCH' });
  });

  it.concurrent('makes $TMPDIR in the machine: the user’s, empty, and gone from the node afterwards', async () => {
    const vm = await same({
      script: bash(
        'cd "$TMPDIR" && stat -c "%U %G %a" . && ls -A && echo x >f && [ "$TMP" = "$TMPDIR" ] && cat f',
      ),
    });
    expect(vm.stdout).toBe('alice alice 755\nx\n');
  });

  it.concurrent('runs a command with -b y through the shell', async () => {
    const vm = await same({ command: ['echo', '$((1+2))', '"a  b"', ';', 'exit', '3'] });
    expect(vm).toMatchObject({ stdout: '3 a  b\n', exitCode: 3 });
  });

  it.concurrent('runs a command with -b y -shell n as it is', async () => {
    const vm = await same({ command: ['/bin/echo', '$((1+2))', 'a  b'], options: ['-shell', 'n'] });
    expect(vm.stdout).toBe('$((1+2)) a  b\n');
  });

  it.concurrent('takes a script from stdin, with -S and -j y', async () => {
    const run = async (queue: string) => {
      const cwd = await jobDirectory(lab);
      const { stdout } = await asUser(
        lab,
        [
          'qsub',
          '-terse',
          '-cwd',
          '-q',
          queue,
          ...(queue === 'all.q' ? SMALL : []),
          '-S',
          '/bin/sh',
          '-j',
          'y',
          '-o',
          'out',
        ],
        { cwd, input: 'echo one; echo two >&2; echo "$0" | sed "s#.*/[0-9]*#name#"; exit 5\n' },
      );
      const { exitCode } = await waitForEnd(lab, 'gridengine', stdout.trim(), WAIT_MS);
      return { exitCode, text: await readFile(join(cwd, 'out'), 'utf8') };
    };
    const [native, vm] = await Promise.all([run('native.q'), run('all.q')]);
    expect(vm).toEqual(native);
    expect(vm.exitCode).toBe(5);
  });

  it.concurrent('gives each array task a machine of its own', async () => {
    const { id, directory } = await submit(lab, 'gridengine', 'vm', {
      script: bash('echo "$SGE_TASK_ID $SGE_TASK_LAST $(cat /proc/sys/kernel/random/boot_id)"'),
      options: [...SMALL, '-t', '1-3'],
    });
    await waitForEnd(lab, 'gridengine', id, WAIT_MS);
    const lines = (await readFile(join(directory, 'out'), 'utf8')).trim().split('\n');
    expect(lines.map((line) => line.slice(0, 3)).sort()).toEqual(['1 3', '2 3', '3 3']);
    expect(new Set(lines.map((line) => line.slice(4))).size).toBe(3);
  });

  it.concurrent('gives -pe smp N that many CPUs, and h_vmem times N as memory without a limit of the address space', async () => {
    const vm = await runBatch(lab, 'gridengine', 'vm', {
      script: bash("echo $NSLOTS $(nproc); ulimit -v; awk '/MemTotal/ { print $2 }' /proc/meminfo"),
      options: ['-pe', 'smp', '2', '-l', 'h_vmem=300M'],
      timeoutMs: WAIT_MS,
    });
    const [slots, limit, total] = vm.stdout.split('\n');
    expect([slots, limit]).toEqual(['2 2', 'unlimited']);
    expect(Number(total) / 1024).toBeGreaterThanOrEqual(600);
  });

  it.concurrent.each([
    ['a missing interpreter', '#!/no/such/program\n'],
    ['exit status 100', bash('exit 100')],
  ])('puts the job into the error state as natively: %s', async (_, script) => {
    const [native, vm] = await both({ script });
    // E: error; what else is there says whether it was rescheduled before.
    expect([native.state, vm.state]).toEqual([expect.stringMatching(/^E/), expect.stringMatching(/^E/)]);
    await asUser(lab, ['qdel', native.id, vm.id]);
  });

  it.concurrent('runs a job again that exits with 99', async () => {
    const vm = await same({
      script: bash('[ -e again ] || { touch again; exit 99; }; echo "restarted $RESTARTED"'),
    });
    expect(vm.stdout).toBe('restarted 1\n');
  });

  it.concurrent('signals a -notify job before it is deleted', async () => {
    const { id, directory } = await submit(lab, 'gridengine', 'vm', {
      script: bash('trap "echo warned; exit 0" USR2; echo ready; while :; do sleep 0.2; done'),
      options: [...SMALL, '-notify'],
    });
    const out = () => readFile(join(directory, 'out'), 'utf8').catch(() => '');
    await until('the job to be ready', async () => (await out()).includes('ready'), { timeoutMs: WAIT_MS });
    await asUser(lab, ['qdel', id]);
    await until('the warning', async () => (await out()).includes('warned'), { timeoutMs: 60_000 });
    await waitForEnd(lab, 'gridengine', id, 60_000);
  });

  it.concurrent('ends a job at its run time, with s_rt’s USR1 before h_rt’s KILL', async () => {
    const vm = await runBatch(lab, 'gridengine', 'vm', {
      script: bash('trap "echo soft" USR1; while :; do sleep 0.2; done'),
      // Both count from before the prolog, in which a machine boots beside others.
      options: [...SMALL, '-l', 's_rt=40,h_rt=55'],
      timeoutMs: WAIT_MS,
    });
    expect(vm.stdout).toMatch(/^soft\n/);
    expect(vm.exitCode).toBe(137);
  });

  it.concurrent('runs qrsh CMD in a machine, with input, output and status', async () => {
    const run = (queue: string, ...options: string[]) =>
      asUser(
        lab,
        ['qrsh', '-now', 'n', '-q', queue, ...options, 'read x; echo "got $x"; echo no >&2; exit 6'],
        {
          input: 'word\n',
          timeoutMs: WAIT_MS,
        },
      );
    const [native, vm] = await Promise.all([run('native.q'), run('all.q', ...SMALL)]);
    expect(vm).toEqual(native);
    expect(vm.exitCode).toBe(6);
  });

  it.concurrent('runs no task of a parallel job on a host where it has no machine', async () => {
    const vm = await runBatch(lab, 'gridengine', 'vm', {
      script: bash(
        'other=$(awk \'NR==2 { print $1 }\' $PE_HOSTFILE); qrsh -inherit $other hostname; echo "status $?"',
      ),
      options: [...SMALL, '-pe', 'mpi', '2'],
      timeoutMs: WAIT_MS,
    });
    expect(vm.stdout).toBe('status 1\n');
    expect(vm.stderr).toContain('has no machine on this host');
  });

  it.concurrent('refuses a login, which would run outside of a machine', async () => {
    const { stdout, exitCode } = await asUser(lab, ['qrsh', '-now', 'n', '-q', 'all.q', ...SMALL], {
      input: 'echo on $(hostname)\n',
      timeoutMs: WAIT_MS,
    });
    expect(stdout).not.toContain('on n');
    expect(exitCode).not.toBe(0);
  });

  it('leaves no queue in an error state', async () => {
    const { stdout } = await asUser(lab, ['qstat', '-f', '-u', '*']);
    const states = stdout
      .split('\n')
      .flatMap((line) => /^\S+@n\d.*\S-\S+\s+(\S+)?\s*$/.exec(line)?.[1] ?? []);
    expect(states.filter((state) => state.includes('E'))).toEqual([]);
  });
});
