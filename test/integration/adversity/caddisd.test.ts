import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { asUser } from '../support/batch.ts';
import { ending, restartCaddisd, untilNoTrouble, untilPhase, untilSays, victims } from '../support/faults.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';

const LINES = 300;
/** Numbered lines over about ten seconds, so that a restart falls into the middle of them. */
const TALK = `for i in $(seq ${LINES}); do echo $i; sleep 0.03; done; echo end`;
const TALKED = `${Array.from({ length: LINES }, (_, i) => `${i + 1}\n`).join('')}end\n`;

describe('caddisd dies', { timeout: 300_000 }, () => {
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

  it.each(['KILL', 'TERM'] as const)(
    'by %s in the middle of output: not a byte is lost or repeated',
    async (signal) => {
      const jobs = await victims(lab, node, TALK);
      await untilSays(jobs, '20\n');
      await restartCaddisd(lab, node, signal);
      for (const job of jobs) {
        const end = await ending(lab, job);
        expect({ ...end, state: '' }).toEqual({
          exitCode: 0,
          signal: 0,
          state: '',
          stdout: TALKED,
          stderr: '',
          runs: 1,
        });
      }
    },
  );

  it.each(['KILL', 'TERM'] as const)('by %s in a prolog: the job runs all the same', async (signal) => {
    const jobs = await victims(lab, node, 'echo end');
    await untilPhase(node, jobs.slice(0, 1), 'starting');
    await restartCaddisd(lab, node, signal);
    for (const job of jobs) {
      const end = await ending(lab, job);
      expect({ ...end, state: '' }).toEqual({
        exitCode: 0,
        signal: 0,
        state: '',
        stdout: 'end\n',
        stderr: '',
        runs: 1,
      });
    }
  });

  it('for good, and the job is cancelled: the epilog ends its machine, the next caddisd clears the rest', async () => {
    const jobs = await victims(lab, node, 'echo begun; sleep 600');
    await untilSays(jobs, 'begun');
    await stopOn(node, 'KILL');
    try {
      await asUser(lab, ['scancel', (jobs[0] as { id: string }).id]);
      await asUser(lab, ['qdel', (jobs[1] as { id: string }).id]);
      for (const job of jobs) await ending(lab, job);
    } finally {
      await startOn(lab, node);
    }
  });
});
