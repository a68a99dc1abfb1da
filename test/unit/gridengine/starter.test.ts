import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

/** hooks/gridengine/starter.sh without a lab: what it runs where, when there is no machine. */
describe('the starter_method runs nothing that no prolog allowed', () => {
  let dir: string;
  let starter: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'caddis-starter-'));
    await mkdir(join(dir, 'run/jobs'), { recursive: true });
    const text = await readFile(join(import.meta.dirname, '../../../hooks/gridengine/starter.sh'), 'utf8');
    starter = join(dir, 'starter.sh');
    await writeFile(join(dir, 'hooks.env'), `CADDIS_RUN=${dir}/run\nCADDIS_HOOK=/no/such/caddis-hook\n`);
    await writeFile(starter, text.replaceAll('/etc/caddis/hooks.env', join(dir, 'hooks.env')));
    await writeFile(join(dir, 'config'), 'handle_as_binary=1\nno_shell=1\n');
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  const start = () =>
    execa('sh', [starter, 'echo', 'ran on the host'], {
      env: {
        JOB_ID: '7',
        SGE_TASK_ID: 'undefined',
        SGE_JOB_SPOOL_DIR: dir,
        SGE_STARTER_SHELL_PATH: '/bin/sh',
        SGE_STARTER_SHELL_START_MODE: 'unix_behavior',
      },
      reject: false,
    });

  it('refuses without a word of the prolog', async () => {
    const { stdout, stderr, exitCode } = await start();
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 1 });
    expect(stderr).toContain('job 7 has no machine on this host');
  });

  it('says why no machine could be made', async () => {
    await writeFile(join(dir, 'run/jobs/gridengine-7.1'), 'caddis: no image\n');
    expect(await start()).toMatchObject({ stdout: '', stderr: 'caddis: no image', exitCode: 1 });
  });

  it('runs what the prolog let run natively', async () => {
    await writeFile(join(dir, 'run/jobs/gridengine-7.1.native'), '');
    expect(await start()).toMatchObject({ stdout: 'ran on the host', stderr: '', exitCode: 0 });
  });

  it('never runs a job with a machine on the host, even if the client is missing', async () => {
    await mkdir(join(dir, 'run/jobs/gridengine-7.1'));
    await writeFile(join(dir, 'run/jobs/gridengine-7.1.native'), '');
    const { stdout, exitCode } = await start();
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 127 });
  });
});
