import { beforeAll, expect, it } from 'vitest';

import type { Lab, LabHost } from '../../lab/host.ts';
import { waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { left, MOVE_MS, moveTo, startCounting, undisturbed, untilSays, untilTick } from './support.ts';

/** A step inside the script, which gets nothing of its environment but what Slurm itself puts there, which counts on stdout and in a file, beside the script's own counting. */
const STEP = `export SLURM_EXPORT_ENV=NONE
srun -n1 --overlap /bin/bash -c 'for i in $(seq 14); do echo "step $i"; echo "$i" >> steps; sleep 1; done; exit 3' | sed -u 's/^/through sed: /'
echo "srun ended with \${PIPESTATUS[0]}"
cat steps`;

let lab: Lab;
let nodes: [LabHost, LabHost];
beforeAll(async () => {
  lab = await theLab();
  nodes = [lab.nodes[0] as LabHost, lab.nodes[1] as LabHost];
});

it('a step that runs when its job is requeued goes on with it, twice', { timeout: 4 * MOVE_MS }, async () => {
  const wanted = undisturbed(lab, 'slurm', { seconds: 2, body: STEP });
  const job = await startCounting(lab, 'slurm', nodes[0], { seconds: 2, body: STEP });
  await untilTick(job, 2);
  for (const [says, from, to] of [
    ['through sed: step 4', nodes[0], nodes[1]],
    ['through sed: step 8', nodes[1], nodes[0]],
  ] as const) {
    await untilSays(job, says);
    await moveTo(lab, job, from, to);
  }
  expect(await waitForEnd(lab, 'slurm', job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
  const result = await left(job);
  // What srun and slurmstepd said of the run that ended was cut off in the middle of a line.
  const withoutThem = (text: string) => text.replace(/^.*(srun|slurmstepd(-n\d)?): .*\n/gm, '');
  const { stderr, ...rest } = await wanted;
  expect({ ...result, stderr: withoutThem(result.stderr) }).toEqual({ ...rest, stderr: withoutThem(stderr) });
});
