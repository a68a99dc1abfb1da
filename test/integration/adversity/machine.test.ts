import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { Lab, LabHost } from '../../lab/host.ts';
import { on } from '../../lab/process.ts';
import { asUser } from '../support/batch.ts';
import {
  ending,
  killLibvirtd,
  qemuPid,
  untilNoTrouble,
  untilPhase,
  untilSays,
  victims,
} from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';

/** The first run waits to be broken; any other says that it came through. */
const TWICE = 'if [ "$(wc -l < runs)" = 1 ]; then echo begun; sleep 600; fi; echo end';

describe('a machine dies', { timeout: 300_000 }, () => {
  let lab: Lab;
  let node: LabHost;
  beforeAll(async () => {
    lab = await theLab();
    node = lab.nodes[1] as LabHost;
  });
  afterEach(async () => {
    await untilNothingLeft(lab);
    await untilNoTrouble(lab);
  });

  it('QEMU is killed: the job is requeued and runs again', async () => {
    const jobs = await victims(lab, node, TWICE);
    await untilSays(jobs, 'begun');
    for (const job of jobs) process.kill(await qemuPid(node, job), 'SIGKILL');
    for (const job of jobs) {
      const end = await ending(lab, job);
      expect(end).toMatchObject({ exitCode: 0, runs: 2 });
      expect(end.stdout).toMatch(/end\n$/);
    }
  });

  it('QEMU is killed under a job that cannot be requeued: it fails with the reason', async () => {
    const jobs = await victims(lab, node, TWICE, { slurm: ['--no-requeue'], gridengine: ['-r', 'n'] });
    await untilSays(jobs, 'begun');
    for (const job of jobs) process.kill(await qemuPid(node, job), 'SIGKILL');
    for (const job of jobs) {
      const end = await ending(lab, job);
      expect(end).toMatchObject({ runs: 1, stdout: 'begun\n' });
      expect(end.exitCode).not.toBe(0);
      expect(end.stderr).toMatch(/caddis: its machine stopped/);
    }
  });

  it('the guest kernel panics: the job is requeued and the log has the panic', async () => {
    const jobs = await victims(lab, node, TWICE);
    await untilSays(jobs, 'begun');
    for (const { key } of jobs)
      await on(node, ['build/caddis-hook', 'shell', key, 'sh', '-c', 'echo c > /proc/sysrq-trigger'], {
        timeoutMs: 20_000,
      }).catch(() => undefined);
    for (const job of jobs) expect(await ending(lab, job)).toMatchObject({ exitCode: 0, runs: 2 });
  });

  it('QEMU is killed in the prolog: the job starts again', async () => {
    const jobs = await victims(lab, node, 'echo end');
    await untilPhase(node, jobs, 'starting');
    for (const job of jobs) process.kill(await qemuPid(node, job), 'SIGKILL');
    for (const job of jobs) {
      const end = await ending(lab, job);
      expect(end).toMatchObject({ exitCode: 0, runs: 1, stdout: 'end\n', stderr: '' });
    }
  });

  it('libvirtd is killed while a job runs, and comes back: nobody notices', async () => {
    const jobs = await victims(lab, node, 'echo begun; until [ -e go ]; do sleep 0.2; done; echo end');
    await untilSays(jobs, 'begun');
    const start = await killLibvirtd(node);
    await start();
    for (const { directory } of jobs) await asUser(lab, ['touch', `${directory}/go`]);
    for (const job of jobs)
      expect(await ending(lab, job)).toMatchObject({ exitCode: 0, runs: 1, stdout: 'begun\nend\n' });
  });

  it('libvirtd is dead at the epilog: the machine ends all the same', async () => {
    const jobs = await victims(lab, node, 'echo begun; until [ -e go ]; do sleep 0.2; done; echo end');
    await untilSays(jobs, 'begun');
    const start = await killLibvirtd(node);
    try {
      for (const { directory } of jobs) await asUser(lab, ['touch', `${directory}/go`]);
      for (const job of jobs)
        expect(await ending(lab, job)).toMatchObject({ exitCode: 0, stdout: 'begun\nend\n' });
    } finally {
      await start();
    }
  });
});
