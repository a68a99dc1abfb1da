import { chmod, chown, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { readCarried } from '../../../src/daemon/carry-in.ts';

const alice = { name: 'alice', uid: 1001, gid: 1001, groups: [1001, 50], passwd: '', groupLines: [] };

/** What of the scheduler's spool root reads for a user who says which file it is. */
describe('files that are carried into a machine', () => {
  let spool: string;
  beforeEach(async () => {
    spool = await mkdtemp(join(tmpdir(), 'caddis-spool-'));
    await mkdir(join(spool, 'job00004'));
  });
  afterEach(() => rm(spool, { recursive: true, force: true }));

  const carry = async (path: string, roots = [spool]) => {
    const [file] = await readCarried({ carry: [{ path, mode: 0o700, uid: 1001 }] } as never, roots, alice);
    return file?.content.toString();
  };
  async function script(owner: number, group: number, mode: number): Promise<string> {
    const path = join(spool, 'job00004/slurm_script');
    await writeFile(path, 'echo secret\n');
    await chown(path, owner, group);
    await chmod(path, mode);
    return path;
  }

  it("takes the user's own, and what everybody or a group of the user may read", async () => {
    for (const [owner, group, mode] of [
      [1001, 1001, 0o500],
      [0, 0, 0o755],
      [0, 50, 0o640],
    ] as const)
      expect(await carry(await script(owner, group, mode))).toBe('echo secret\n');
  });

  it("does not hand out another user's script, nor the scheduler's own secrets", async () => {
    await expect(carry(await script(1002, 1002, 0o500))).rejects.toThrow(/alice may not read it/);
    await expect(carry(await script(0, 0, 0o600))).rejects.toThrow(/alice may not read it/);
  });

  it('takes nothing from elsewhere, whatever its name', async () => {
    const path = join(spool, 'job00004/slurm_script');
    await symlink('/etc/passwd', path);
    await expect(carry(path)).rejects.toThrow(`it is not below ${spool}`);
  });

  it('does not wait for the other end of a fifo', async () => {
    const path = join(spool, 'job00004/slurm_script');
    await execa('mkfifo', [path]);
    await chown(path, 1001, 1001);
    await expect(carry(path)).rejects.toThrow('it is no regular file');
  });
});
