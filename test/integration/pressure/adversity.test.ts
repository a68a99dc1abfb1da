import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { until } from '../../lab/process.ts';
import { machineOf, untilOn } from '../moving/support.ts';
import { type BatchSystem, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import {
  beginTurn,
  endBorrower,
  endOfTurn,
  explain,
  type LentJob,
  letSecondLend,
  makeSmall,
  NODE_MIB,
  outputOf,
  remove,
  residentOf,
  restart,
  SLOW_MS,
  smallNode,
  startBorrower,
  startOwner,
  ticksOf,
  untilDone,
  untilSays,
} from './lending.ts';

/** It grows slowly at first, then wants CPUs alone: what it had grown by would not be lent for two minutes. */
const OWNER_MIB = 1600;
const GROWTH = { megabytes: 150, seconds: 5, slowly: true } as const;
const WORK = { megabytes: 1, seconds: 10 };
/** Of the file that the borrower has in its cache. */
const LEAST_RECLAIMED_BYTES = 32 << 20;
const BORROWER = { memory: 300, megabytes: 100, cachedMegabytes: 120 };

/** One of the two takes a minute and a half, and the story runs both: both with CADDIS_ALL_SYSTEMS=1. */
const SYSTEMS: readonly BatchSystem[] =
  process.env.CADDIS_ALL_SYSTEMS === undefined ? ['gridengine'] : ['slurm', 'gridengine'];

if (SYSTEMS.length === 1)
  console.log(
    'give-back under adversity: Slurm is left out to save a minute and a half; CADDIS_ALL_SYSTEMS=1 runs it',
  );

describe('a give-back that something is in the way of', () => {
  let lab: Lab;
  let one: LabHost;
  let two: LabHost;
  const jobs: LentJob[] = [];
  const started = (job: LentJob) => {
    jobs.push(job);
    return job;
  };

  beforeAll(async () => {
    lab = await theLab();
    [one, two] = lab.nodes as [LabHost, LabHost];
  });
  afterAll(async () => {
    for (const job of jobs) await remove(lab, job);
    for (const node of lab.nodes) await restart(lab, node);
  });

  it.each<BatchSystem>(SYSTEMS)(
    'takes what the guest of %s does not use by its balloon; freezes only while the store is full, says so, and lets the job go on; a caddisd that is killed in the middle of an eviction finishes it',
    { timeout: 3 * SLOW_MS },
    async (system) => {
      await makeSmall(lab, NODE_MIB, 'quota = 1\n[pressure]\nevict_after = 3\n');
      const a = started(await startOwner(lab, system, one, OWNER_MIB, [GROWTH, WORK]));
      const b = started(await startBorrower(lab, system, BORROWER));
      await untilSays(b, 'tick 3 ');
      await letSecondLend(lab, NODE_MIB);

      await beginTurn(a, 1, GROWTH);
      const held = await residentOf(one, b);
      await untilDone(one, b, 'reclaim');
      await until(
        'its balloon to have what it was asked for',
        async () => {
          const { borrowers } = await explain(one, b);
          const balloonBytes = borrowers[0]?.balloon_bytes ?? 0;
          return balloonBytes > 0 && (await residentOf(one, b)) < held - LEAST_RECLAIMED_BYTES;
        },
        { timeoutMs: SLOW_MS, everyMs: 300 },
      );
      await endOfTurn(a, 1);

      await beginTurn(a, 2, WORK);
      await untilDone(one, b, 'freeze');
      await endOfTurn(a, 2);
      const { now, history } = await explain(one, b);
      expect(history.map(({ what }) => what)).not.toContain('evict');
      expect(now?.store_trouble).toMatch(/checkpoint\.quota/);
      const thawed = await untilDone(one, b, 'thaw');
      expect(thawed.why).toMatch(/there has been room for 1\d s/);
      const tick = ticksOf(await outputOf(b));
      await untilSays(b, `tick ${tick + 1} `);

      await restart(lab, one, smallNode(NODE_MIB, '[pressure]\nevict_after = 1\n'));
      await untilOn(one, b, 'running');
      await beginTurn(a, 3, WORK);
      await untilOn(one, b, 'saving');
      await stopOn(one, 'KILL');
      await startOn(lab, one, smallNode(NODE_MIB));
      await untilOn(two, b, 'running');
      expect((await machineOf(two, b))?.boot_path).not.toBe('base');
      await endBorrower(lab, b, BORROWER);
      for (const job of [a, b]) await remove(lab, job);
      await waitForEnd(lab, system, a.id, SLOW_MS);
    },
  );
});
