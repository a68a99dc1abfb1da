import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { Lab, LabHost } from '../../lab/host.ts';
import { on } from '../../lab/process.ts';
import { asUser, type BatchSystem, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import {
  left,
  MOVE_MS,
  machineOf,
  startCounting,
  undisturbed,
  untilTick,
  withoutSlurmsLines,
} from './support.ts';

const SECONDS = 16;

describe.concurrent.each<BatchSystem>(['slurm', 'gridengine'])(
  'caddis migrate --to, of a job of %s',
  (system) => {
    let lab: Lab;
    let nodes: [LabHost, LabHost];
    beforeAll(async () => {
      lab = await theLab();
      nodes = [lab.nodes[0] as LabHost, lab.nodes[1] as LabHost];
    });
    afterEach(() => untilNothingLeft(lab));

    it('moves it there and says how long it stood still; refuses hosts where it cannot go', {
      timeout: 3 * MOVE_MS,
    }, async () => {
      const queue = system === 'slurm' ? 'main' : 'move.q';
      const job = await startCounting(lab, system, nodes[0], { seconds: SECONDS, queue });
      await untilTick(job, 3);
      const wanted = undisturbed(lab, system, { seconds: SECONDS });
      const [one, two] = nodes;
      const [here, there] = (await machineOf(one, job)) ? [one, two] : [two, one];
      await expect(migrate(here, job.key, 'nosuch')).rejects.toThrow(/"nosuch"/);
      await expect(migrate(here, job.key, here.name)).rejects.toThrow(/already/);
      expect(await machineOf(here, job)).toMatchObject({ phase: 'running' });

      const said = JSON.parse(await migrate(here, job.key, there.name)) as Record<string, unknown>;
      expect(said).toMatchObject({ job: job.key, state: 'goes-on', host: there.name, how: 'hand-over' });
      console.log(`${job.key}: ${JSON.stringify(said)}`);
      expect(await machineOf(there, job)).toMatchObject({ boot_path: 'hand-over' });
      if (system === 'gridengine') {
        const { stdout } = await asUser(lab, ['qstat', '-j', job.id], { user: 'root' });
        expect(stdout).toMatch(/^hard_queue_list:\s+move\.q$/m);
      }
      expect(await waitForEnd(lab, system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
      const result = await left(job);
      expect({ ...result, stderr: withoutSlurmsLines(result.stderr) }).toEqual(await wanted);
    });

    function migrate(node: LabHost, key: string, to: string): Promise<string> {
      const command = [
        process.execPath,
        'dist/caddis.cjs',
        'migrate',
        key,
        '--to',
        to,
        '--json',
        '--timeout',
        '90',
      ];
      return on(node, command, { timeoutMs: MOVE_MS });
    }
  },
);
