import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { daemonLog } from '../../lab/daemons.ts';
import type { LabHost } from '../../lab/host.ts';
import { clusterOf } from '../../lab/slurm/cluster.ts';
import { asUser, waitForEnd } from '../support/batch.ts';
import { untilNoTrouble } from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import { left, MOVE_MS, startCounting, undisturbed, untilTick, withoutSlurmsLines } from './support.ts';

const SECONDS = 8;

/** slurmd does it by itself when a job comes back to a node at the wrong moment; here the script ends before its first word. */
it('a requeued job whose prolog slurmd leaves out goes on in its machine', {
  timeout: 2 * MOVE_MS,
}, async () => {
  const lab = await theLab();
  const node = lab.nodes[0] as LabHost;
  const wanted = await undisturbed(lab, 'slurm', { seconds: SECONDS });
  const job = await startCounting(lab, 'slurm', node, { seconds: SECONDS });
  await untilTick(job, 3);
  const settings = join(clusterOf(lab).hooks, 'hooks.env');
  const before = await readFile(settings, 'utf8');
  const log = daemonLog(node.name, 'caddisd');
  const from = (await readFile(log)).length;
  try {
    await appendFile(settings, 'case $0 in *prolog*) exit 0 ;; esac\n');
    await asUser(lab, ['scontrol', 'requeue', job.id], { user: 'root' });
    expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
  } finally {
    await writeFile(settings, before);
  }
  expect((await readFile(log)).subarray(from).toString()).toMatch(
    new RegExp(`${job.key} was started again without its prolog`),
  );
  const result = await left(job);
  expect({ ...result, stderr: withoutSlurmsLines(result.stderr) }).toEqual({
    ...wanted,
    stderr: withoutSlurmsLines(wanted.stderr),
  });
  await untilNoTrouble(lab);
  await untilNothingLeft(lab);
});
