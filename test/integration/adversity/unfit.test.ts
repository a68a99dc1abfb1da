import { rename } from 'node:fs/promises';
import { join } from 'node:path';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { imagesOf, startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { until } from '../../lab/process.ts';
import { asUser } from '../support/batch.ts';
import {
  ending,
  killLibvirtd,
  nodeTroubles,
  restartCaddisd,
  SLOW_MS,
  untilNoTrouble,
  type Victim,
  victims,
} from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';

const HELLO = 'echo hello from $(cat /proc/1/comm)';

describe('a node cannot make machines', { timeout: 300_000 }, () => {
  let lab: Lab;
  let node: LabHost;
  beforeAll(async () => {
    lab = await theLab();
    node = lab.nodes[1] as LabHost;
  });
  afterEach(async () => {
    await untilNoTrouble(lab);
    await untilNothingLeft(lab);
  });

  /** Breaks the node, submits, waits until both schedulers have the node out by our name, mends it, and expects the jobs to run as if nothing had been. */
  async function outAndBack(breakIt: () => Promise<() => Promise<void>>, reason: RegExp): Promise<void> {
    const mend = await breakIt();
    let jobs: Victim[];
    try {
      jobs = await victims(lab, node, HELLO);
      await until(
        'both schedulers to have the node out of service',
        async () => {
          const troubles = await ourTroubles();
          return reason.test(troubles.join('\n')) && troubles.some((line) => / a?d\s*$/.test(line));
        },
        {
          timeoutMs: SLOW_MS,
          everyMs: 500,
        },
      );
    } finally {
      await mend();
    }
    for (const job of jobs)
      expect(await ending(lab, job)).toMatchObject({
        exitCode: 0,
        runs: 1,
        stdout: 'hello from caddis-init\n',
        stderr: '',
      });
  }

  /** Lines about this node; every one of them must be ours: no queue in E (`d`: disabled by us, `a`: vm_ok is 0), no node drained for another reason. */
  async function ourTroubles(): Promise<string[]> {
    const lines = (await nodeTroubles(lab)).filter(
      // What is short for owners is not lent: alarms of the queue for that are as they should be.
      (line) => line.includes(node.name) && !/^scavenge\.q@.* [aA]+\s*$/.test(line),
    );
    for (const line of lines) expect(line).toMatch(/caddis:| (a|d|ad)\s*$/);
    return lines;
  }

  it('libvirtd is dead: drained by name, the job waits, the drain clears itself', async () => {
    await outAndBack(() => killLibvirtd(node), /caddis: .*libvirt/);
  });

  it('the image is gone, also for a caddisd that starts', async () => {
    await outAndBack(async () => {
      const images = imagesOf(lab);
      await rename(join(images, 'names'), join(images, 'names.away'));
      await stopOn(node, 'KILL');
      const starting = startOn(lab, node);
      return async () => {
        await rename(join(images, 'names.away'), join(images, 'names'));
        await starting;
      };
    }, /caddis: .*image/);
  });

  it.each([
    ['scratch disks', '[scratch]\ndir = "/dev/null/nowhere"\n', /caddis: .*scratch/],
    ['address claims', '[network]\nclaims_dir = "/dev/null/nowhere"\n', /caddis: .*claim|cannot write/],
  ])('the directory of the %s cannot be written', async (_, extra, reason) => {
    await outAndBack(async () => {
      await restartCaddisd(lab, node, 'TERM', extra);
      return () => restartCaddisd(lab, node, 'TERM');
    }, reason);
  });

  it('memory is short: back to the queue, not in a tight loop, and the node stays in service', async () => {
    await restartCaddisd(lab, node, 'TERM', '[vm]\nreserve_memory = "900G"\n');
    let jobs: Victim[];
    try {
      jobs = await victims(lab, node, HELLO);
      await Promise.all(jobs.map((job) => untilRequeued(job)));
      expect(await ourTroubles()).toEqual([]);
    } finally {
      await restartCaddisd(lab, node, 'TERM');
    }
    for (const job of jobs)
      expect(await ending(lab, job)).toMatchObject({ exitCode: 0, runs: 1, stderr: '' });
  });

  it('the site chose "fail": the job ends with the reason in its output', async () => {
    await restartCaddisd(
      lab,
      node,
      'TERM',
      '[vm]\nreserve_memory = "900G"\n[policy]\non_unavailable = "fail"\n',
    );
    try {
      for (const job of await victims(lab, node, HELLO)) {
        const end = await ending(lab, job);
        expect(end).toMatchObject({ exitCode: 1, runs: 0, stdout: '' });
        expect(end.stderr).toMatch(/^caddis: not enough memory on this node: .* needed/);
      }
    } finally {
      await restartCaddisd(lab, node, 'TERM');
    }
  });

  it('the site chose "native": the job runs without a machine', async () => {
    await restartCaddisd(
      lab,
      node,
      'TERM',
      '[vm]\nreserve_memory = "900G"\n[policy]\non_unavailable = "native"\n',
    );
    try {
      for (const job of await victims(
        lab,
        node,
        'test "$(cat /proc/1/comm)" != caddis-init && echo natively',
      ))
        expect(await ending(lab, job)).toMatchObject({ exitCode: 0, stdout: 'natively\n' });
    } finally {
      await restartCaddisd(lab, node, 'TERM');
    }
  });

  /** Slurm counts restarts; Grid Engine writes an accounting record for each start that was sent back. */
  async function untilRequeued({ system, id }: Victim): Promise<void> {
    await until(
      `job ${id} of ${system} to be requeued`,
      async () => {
        const { stdout } =
          system === 'slurm'
            ? await asUser(lab, ['scontrol', 'show', 'job', '-o', id])
            : await asUser(lab, ['qstat', '-u', '*']);
        return system === 'slurm'
          ? /Restarts=[1-9]/.test(stdout)
          : new RegExp(`^\\s*${id}\\s.*\\sR`, 'm').test(stdout);
      },
      { timeoutMs: SLOW_MS, everyMs: 300 },
    );
  }
});
