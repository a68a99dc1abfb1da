import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Lab } from '../../lab/host.ts';
import { type BatchSystem, waitForEnd } from '../support/batch.ts';
import { restartCaddisd } from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import { left, MOVE_MS, startCounting, undisturbed, withoutSlurmsLines } from './support.ts';

const BRIDGED = '[time_limit]\nbridge = true\ncap = 600\nbefore = 25\n';
const LIMIT = { slurm: ['-t', '1'], gridengine: ['-l', 'h_rt=60'] } as const;
/** More than one run may take. */
const SECONDS = 70;

describe('a time limit is bridged', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
    for (const node of lab.nodes) await restartCaddisd(lab, node, 'TERM', BRIDGED);
  });
  afterAll(async () => {
    await untilNothingLeft(lab);
    for (const node of lab.nodes) await restartCaddisd(lab, node, 'TERM');
  });

  it.concurrent.each<BatchSystem>(['slurm', 'gridengine'])(
    'and the job goes on under its id: %s',
    { timeout: 4 * MOVE_MS },
    async (system) => {
      const wanted = undisturbed(lab, system, { seconds: SECONDS });
      const node = lab.nodes[system === 'slurm' ? 0 : 1];
      if (!node) throw new Error('the lab has two nodes');
      const job = await startCounting(lab, system, node, { seconds: SECONDS, options: LIMIT[system] });
      expect(await waitForEnd(lab, system, job.id, 3 * MOVE_MS)).toMatchObject({ exitCode: 0 });
      const result = await left(job);
      expect({ ...result, stderr: withoutSlurmsLines(result.stderr) }).toEqual(await wanted);
    },
  );
});
