import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, jobDirectory, runBatch } from '../support/batch.ts';
import { untilPhase } from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import { asGuestRoot, cancel, endOf, JOB_MS, optionsFor, outputOf, startJob } from '../support/machines.ts';

const SYSTEMS: readonly BatchSystem[] = ['slurm', 'gridengine'];
const MiB = 1024 * 1024;
/**
 * The lease of the lab's NFS server is 20 s. Until the server looks at its clients again, within half a lease, it answers a machine that was silent for longer with errors; and then it has
 * forgotten its locks (docs/decisions/0060).
 */
const FREEZE_MS = 21_500;

/** Takes the lock, writes its name into the file, looks whether it stays, and gives the lock back; says how often, and what went wrong. */
const FIGHT = `import fcntl, os, sys, time
path, me = sys.argv[1:3]
turns = errors = stolen = 0
print('ready', flush=True)
end = time.time() + 20
while time.time() < end:
    try:
        with open(path, 'r+') as f:
            fcntl.lockf(f, fcntl.LOCK_EX)
            f.seek(0); f.write(me.ljust(20)); f.flush(); os.fsync(f.fileno())
            time.sleep(0.02)
            f.seek(0)
            stolen += os.pread(f.fileno(), 20, 0).decode().strip() != me
            fcntl.lockf(f, fcntl.LOCK_UN)
        turns += 1
    except OSError as error:
        errors += 1
        print(error, file=sys.stderr, flush=True)
    time.sleep(0.02)
print('turns', turns, 'errors', errors, 'stolen', stolen)
`;

/** Holds a lock all the time, and asks the server for a file and writes a line every 200 ms until it finds a file named \`stop\`. The question needs no state: the kernel recovers nothing for it. */
const HOLD = `import fcntl, os, time
f = open('held', 'w')
fcntl.lockf(f, fcntl.LOCK_EX)
print('ready', flush=True)
n = 0
while not os.path.exists('stop'):
    n += 1
    os.close(os.open('hold.py', os.O_RDONLY))
    f.write('%d\\n' % n); f.flush(); os.fsync(f.fileno())
    time.sleep(0.2)
print('wrote', n)
`;

describe('storage', () => {
  let lab: Lab;
  let node: LabHost;
  beforeAll(async () => {
    lab = await theLab();
    const [first] = lab.nodes;
    if (!first) throw new Error('the lab has no node');
    node = first;
  });

  it.each(SYSTEMS)('home, /tmp and TMPDIR in a job of %s', async (system) => {
    const job = await startJob(
      lab,
      system,
      { node, memory: '200M', scratch: '300M' },
      `stat -f -c 'home is %T' "$HOME"
touch mine
echo "tmp $(($(stat -f -c '%b * %S' /tmp)))"
echo "tmpdir $(stat -c %m "$TMPDIR") $(touch "$TMPDIR/x" && echo writable)"
dd if=/dev/zero of=/tmp/full bs=1M count=400 2>&1 | grep -o 'No space left on device'
rm /tmp/full && echo x >/tmp/again && echo "goes on"
echo ready
until [ -e stop ]; do sleep 0.3; done`,
    );
    try {
      const output = await outputOf(job);
      expect(output).toContain('home is nfs\n');
      const bytes = Number(/^tmp (\d+)$/m.exec(output)?.[1]);
      // What the file system takes for itself.
      expect(bytes / MiB).toBeGreaterThan(260);
      expect(bytes / MiB).toBeLessThanOrEqual(300);
      expect(output).toMatch(/^tmpdir \/tmp writable$/m);
      expect(output).toContain('No space left on device\n');
      expect(output).toContain('goes on\n');
      const alice = lab.users.find(({ name }) => name === 'alice');
      expect((await stat(join(job.directory, 'mine'))).uid).toBe(alice?.uid);
      // Root of a machine is nobody on the server: it may not write where only alice may.
      const root = await asGuestRoot(job, ['touch', join(job.directory, 'by-root')]);
      expect(root.exitCode).not.toBe(0);
      expect(root.stderr).toContain('Permission denied');
      const scratch = join(lab.paths.root, 'scratch', node.name, `${job.machine}.img`);
      expect((await stat(scratch)).size).toBe(300 * MiB);
    } finally {
      await cancel(job);
    }
    await untilNothingLeft(lab);
  });

  it('the scratch disk has the site’s size if the job does not say one', async () => {
    const { stdout } = await runBatch(lab, 'slurm', 'vm', {
      script: '#!/bin/bash\necho "tmp $(($(stat -f -c "%b * %S" /tmp)))"\n',
      options: optionsFor('slurm', { memory: '200M' }),
      timeoutMs: JOB_MS,
    });
    const bytes = Number(/^tmp (\d+)$/m.exec(stdout)?.[1]);
    expect(bytes / MiB).toBeGreaterThan(1900);
    expect(bytes / MiB).toBeLessThanOrEqual(2048);
  });

  it('of two machines of the same name only one has the lock at a time', async () => {
    const shared = join(await jobDirectory(lab), 'lock');
    await on(lab.head, ['install', '-o', 'alice', '-m', '600', '/dev/null', shared]);
    const jobs = await Promise.all(
      SYSTEMS.map((system) =>
        startJob(
          lab,
          system,
          { node, memory: '200M' },
          `hostname; exec python3 fight.py ${shared} ${system}`,
          {
            'fight.py': FIGHT,
          },
        ),
      ),
    );
    for (const job of jobs) {
      const { exitCode } = await endOf(job);
      const output = await outputOf(job);
      expect({ exitCode, stderr: await outputOf(job, 'err') }).toEqual({ exitCode: 0, stderr: '' });
      expect(output).toContain(`${node.name}\n`);
      const [, turns, errors, stolen] =
        /turns (\d+) errors (\d+) stolen (\d+)/.exec(output)?.map(Number) ?? [];
      expect({ errors, stolen }).toEqual({ errors: 0, stolen: 0 });
      expect(turns).toBeGreaterThan(5);
    }
  });

  it('a job that was suspended for longer than the lease goes on with its files and its lock, and sees no error', async () => {
    const job = await startJob(lab, 'slurm', { node, memory: '200M' }, 'exec python3 hold.py', {
      'hold.py': HOLD,
    });
    const scontrol = (verb: string) => asUser(lab, ['scontrol', verb, job.id], { user: 'root' });
    const written = async () =>
      (await readFile(join(job.directory, 'held'), 'utf8')).trim().split('\n').length;
    try {
      await until('the first lines', async () => (await written()) > 3);
      await scontrol('suspend');
      await untilPhase(node, [job], 'frozen');
      const frozen = await written();
      await new Promise((resolve) => setTimeout(resolve, FREEZE_MS));
      expect(await written()).toBe(frozen);
      await scontrol('resume');
      await until('lines after the freeze', async () => (await written()) > frozen + 10, {
        timeoutMs: 60_000,
      });
      await on(lab.head, ['touch', join(job.directory, 'stop')]);
      const { exitCode } = await endOf(job);
      expect({ exitCode, stderr: await outputOf(job, 'err') }).toEqual({ exitCode: 0, stderr: '' });
      const lines = (await readFile(join(job.directory, 'held'), 'utf8')).trim().split('\n');
      expect(lines).toEqual(lines.map((_, i) => `${i + 1}`));
      expect(await outputOf(job)).toContain(`wrote ${lines.length}\n`);
    } catch (error) {
      await cancel(job);
      throw error;
    }
  });
});
