import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { readSpoolConfig } from '../../../src/scheduler/gridengine/spool-config.ts';

/** The file that a step's environment names, which is its user's. */
describe("a job's config in the spool", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'caddis-spool-'));
    await mkdir(join(dir, 'active_jobs/7.1'), { recursive: true });
    await writeFile(join(dir, 'active_jobs/7.1/config'), 'no_shell=1\njob_owner=alice\n');
    await mkdir(join(dir, 'users'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));
  const read = (name: string) => readSpoolConfig(join(dir, name), [join(dir, 'active_jobs')]);

  it('is read where sge_execd keeps it, by any name of that directory', async () => {
    expect(read('active_jobs/7.1')).toMatchObject({ noShell: true, owner: 'alice' });
    await symlink(join(dir, 'active_jobs'), join(dir, 'spool'));
    expect(readSpoolConfig(join(dir, 'active_jobs/7.1'), [join(dir, 'spool')]).owner).toBe('alice');
  });

  it('is read nowhere else for a user', async () => {
    await writeFile(join(dir, 'users/config'), 'no_shell=1\n');
    for (const name of ['users', 'active_jobs/../users'])
      expect(() => read(name)).toThrow(/it is not below .*active_jobs \(gridengine.spool_dir/);
  });

  it('holds caddisd neither as a fifo nor as a file without end', async () => {
    await execa('mkfifo', [join(dir, 'users/config')]);
    expect(() => readSpoolConfig(join(dir, 'users'))).toThrow('it is no regular file');
    await rm(join(dir, 'users/config'));
    await symlink('/dev/zero', join(dir, 'users/config'));
    expect(() => readSpoolConfig(join(dir, 'users'))).toThrow(/ELOOP/);
  });
});
