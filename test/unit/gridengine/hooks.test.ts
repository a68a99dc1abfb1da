import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const PROGRAMS = ['cut', 'kill', 'logger', 'mkdir', 'rm', 'sed', 'sleep', 'tr'];

/** hooks/gridengine/{prolog,epilog}.sh without a lab: sge_shepherd runs them as root, in the environment that the job's user has given with `qsub -v` or `-V`. */
describe("hooks believe nothing of a job's environment", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'caddis-root-hooks-'));
    await mkdir(join(dir, 'run/jobs'), { recursive: true });
    await mkdir(join(dir, 'users'));
    await executable('caddis-hook', `export -p >${dir}/seen; exit 69`);
    for (const program of PROGRAMS) await executable(`users/${program}`, `: >${dir}/ran-${program}`);
    await writeFile(
      join(dir, 'hooks.env'),
      `CADDIS_HOOK=${dir}/caddis-hook\nCADDIS_RUN=${dir}/run\nCADDIS_UNREACHABLE_DELAY=0\n`,
    );
    await writeFile(join(dir, 'config'), 'script_file=x\n');
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  async function executable(name: string, text: string): Promise<void> {
    await writeFile(join(dir, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(dir, name), 0o755);
  }

  async function run(hook: string, shell: string, env: Record<string, string>) {
    const text = await readFile(join(import.meta.dirname, `../../../hooks/gridengine/${hook}.sh`), 'utf8');
    await writeFile(
      join(dir, `${hook}.sh`),
      text.replaceAll('/etc/caddis/hooks.env', join(dir, 'hooks.env')),
    );
    return execa(shell, [join(dir, `${hook}.sh`), 'suspend', '1'], {
      env: { JOB_ID: '7', SGE_TASK_ID: 'undefined', SGE_JOB_SPOOL_DIR: dir, ...env },
      reject: false,
    });
  }

  async function ran(): Promise<string[]> {
    const there = await Promise.all(
      PROGRAMS.map((program) =>
        readFile(join(dir, `ran-${program}`)).then(
          () => program,
          () => '',
        ),
      ),
    );
    return there.filter((program) => program !== '');
  }

  it.each(['prolog', 'epilog'] as const)('%s runs no program of the PATH that the job has', async (hook) => {
    await writeFile(join(dir, 'run/jobs/gridengine-7.1'), 'caddis: no image\n');
    await run(hook, '/bin/sh', { PATH: `${dir}/users:${process.env.PATH}` });
    expect(await ran()).toEqual([]);
  });

  it.each(['prolog', 'epilog'] as const)(
    '%s calls no function of the job, where sh is bash',
    async (hook) => {
      await symlink('/bin/bash', join(dir, 'sh'));
      const functions = PROGRAMS.map((program) => [
        `BASH_FUNC_${program}%%`,
        `() { : >${dir}/ran-${program}; }`,
      ]);
      await run(hook, join(dir, 'sh'), Object.fromEntries(functions));
      expect(await ran()).toEqual([]);
    },
  );

  it.each(['prolog', 'epilog'] as const)(
    "%s opens no step, and none in another job's machine",
    async (hook) => {
      await run(hook, '/bin/sh', { CADDIS_ARGV0: '/home/u/x', CADDIS_KEY: 'slurm-4' });
      const seen = await readFile(join(dir, 'seen'), 'utf8');
      expect(seen).not.toMatch(/CADDIS_(ARGV0|KEY)/);
    },
  );

  it.each(['control', 'starter'])('%s, which is run as the user, is not led astray either', async (hook) => {
    await mkdir(join(dir, 'run/machine'));
    await symlink('../machine', join(dir, 'run/jobs/gridengine-7.1'));
    await run(hook, '/bin/sh', { CADDIS_ARGV0: 'true', CADDIS_KEY: 'slurm-4' });
    expect(await readFile(join(dir, 'seen'), 'utf8')).not.toMatch(/CADDIS_(ARGV0|KEY)/);
  });

  it('runs no job outside of a machine because its user says so', async () => {
    const { exitCode } = await run('prolog', '/bin/sh', { CADDIS_ON_UNAVAILABLE: 'native' });
    expect(exitCode).toBe(99);
  });
});
