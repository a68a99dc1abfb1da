import { access, readFile } from 'node:fs/promises';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, waitForEnd } from '../support/batch.ts';
import { qemuPid, untilNoTrouble } from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import {
  left,
  MOVE_MS,
  park,
  startCounting,
  undisturbed,
  untilOn,
  untilTick,
  withoutSlurmsLines,
} from './support.ts';

/** The lab's checkpoint.lease, and time for a guest to notice. */
const LEASE_MS = 15_000;
const SECONDS = 30;

describe('a host is lost', () => {
  let lab: Lab;
  let one: LabHost;
  let two: LabHost;
  beforeAll(async () => {
    lab = await theLab();
    [one, two] = [lab.nodes[0] as LabHost, lab.nodes[1] as LabHost];
  });
  afterEach(async () => {
    await asUser(lab, ['scontrol', 'update', `nodename=${one.name}`, 'state=resume'], { user: 'root' });
    await untilNoTrouble(lab);
    await untilNothingLeft(lab);
  });

  it('its job goes on from the last checkpoint that was taken while it ran', {
    timeout: 4 * MOVE_MS,
  }, async () => {
    const wanted = undisturbed(lab, 'slurm', { seconds: SECONDS });
    const job = await startCounting(lab, 'slurm', one, {
      seconds: SECONDS,
      options: ['--vm-checkpoint=5s'],
    });
    await untilTick(job, 8);
    await until(
      'a checkpoint to be there',
      async () => /^slurm-\d+\s+\d+/m.test(await checkpoints(job.key)),
      {
        timeoutMs: MOVE_MS,
      },
    );
    const pid = await qemuPid(one, job);
    await stopOn(one, 'KILL');
    process.kill(pid, 'SIGKILL');
    await asUser(lab, ['scontrol', 'update', `nodename=${one.name}`, 'state=down', 'reason=lost'], {
      user: 'root',
    });
    await asUser(lab, ['scontrol', 'update', `jobid=${job.id}`, `reqnodelist=${two.name}`, 'StartTime=now'], {
      user: 'root',
    });
    await untilOn(two, job, 'running');
    await startOn(lab, one);
    expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    const { stdout, table } = await wanted;
    expect(await left(job)).toMatchObject({ stdout, table });
  });

  it('a machine whose caddisd is dead stands still after its lease, and goes on with the next', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const wanted = undisturbed(lab, 'slurm', { seconds: SECONDS });
    const job = await startCounting(lab, 'slurm', one, { seconds: SECONDS });
    await untilTick(job, 3);
    await stopOn(one, 'KILL');
    let counted = 0;
    try {
      const table = () => readFile(`${job.directory}/table`, 'utf8');
      await until(
        'the job to stand still',
        async () => {
          const before = counted;
          counted = (await table()).length;
          return counted === before;
        },
        { timeoutMs: 3 * LEASE_MS, everyMs: 3_000 },
      );
    } finally {
      await startOn(lab, one);
    }
    expect(counted / 32).toBeLessThan(SECONDS);
    expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    const result = await left(job);
    expect({ ...result, stderr: withoutSlurmsLines(result.stderr) }).toEqual(await wanted);
  });

  it('a restored machine whose caddisd dies before it runs is let go on by the next', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const wanted = undisturbed(lab, 'slurm', { seconds: 10 });
    const job = await startCounting(lab, 'slurm', one, { seconds: 10 });
    await untilTick(job, 3);
    const release = await park(lab, job, one, two);
    const generation = `${lab.paths.store}/jobs/${job.key}/generations/1`;
    await release();
    // From this moment on the checkpoint does not count any more: the machine is all that there is of the job.
    await until('its checkpoint to be used up', () => exists(`${generation}/resumed`), {
      timeoutMs: MOVE_MS,
      everyMs: 5,
    });
    await stopOn(two, 'KILL');
    await startOn(lab, two);
    await untilOn(two, job, 'running');
    expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    const result = await left(job);
    expect({ ...result, stderr: withoutSlurmsLines(result.stderr) }).toEqual(await wanted);
  });

  function checkpoints(key: string): Promise<string> {
    return on(two, [
      process.execPath,
      'dist/caddis.cjs',
      'checkpoints',
      'list',
      key,
      '--dir',
      lab.paths.store,
    ]);
  }
});

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
