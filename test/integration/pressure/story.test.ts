import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { machineOf, untilOn } from '../moving/support.ts';
import type { BatchSystem } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import {
  beginTurn,
  caddis,
  endBorrower,
  endOfTurn,
  type LentJob,
  letSecondLend,
  makeSmall,
  NODE_MIB,
  outputOf,
  remove,
  restart,
  SLOW_MS,
  smallNode,
  startBorrower,
  startOwner,
  ticksOf,
  untilDone,
  untilSays,
} from './lending.ts';
import { record } from './record.ts';

/** The owner reserves all of it, and takes most when it wakes up; or, while nobody watches, all CPUs for a moment. */
const OWNER_MIB = 1600;
const WORK = { megabytes: 1000, seconds: 6 };
const SHORT_WORK = { megabytes: 200, seconds: 3 };
const BORROWER = { memory: 300, megabytes: 100 };
const DEAD_MS = 10_000;
/** Frozen so soon after its owner woke up. */
const FROZEN_WITHIN_MS = 2_000;

describe.each<BatchSystem>(['slurm', 'gridengine'])('memory and CPUs that %s lends', (system) => {
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
    await makeSmall(lab, NODE_MIB);
  });
  afterAll(async () => {
    for (const job of jobs) await remove(lab, job);
    for (const node of lab.nodes) await restart(lab, node);
  });

  it('are given back before their owner feels it', { timeout: 3 * SLOW_MS }, async () => {
    const a = started(await startOwner(lab, system, one, OWNER_MIB, [WORK, SHORT_WORK]));
    const b = started(await startBorrower(lab, system, BORROWER));
    await untilSays(b, 'tick 3 ');
    expect(await machineOf(one, b)).toMatchObject({ phase: 'running' });
    await letSecondLend(lab, NODE_MIB);

    // Nobody is evicted for want of a caddisd, though its owner wakes up.
    const before = ticksOf(await outputOf(b));
    await stopOn(one, 'KILL');
    await beginTurn(a, 1, SHORT_WORK);
    await new Promise((resolve) => setTimeout(resolve, DEAD_MS));
    await startOn(lab, one, smallNode(NODE_MIB));
    await untilOn(one, b, 'running');
    expect(await machineOf(one, b)).toMatchObject({ boot_path: 'base' });
    // What it has said meanwhile comes at once.
    await untilSays(b, `tick ${before + 4} `);
    await endOfTurn(a, 1);
    await untilOn(one, b, 'running');

    // With one, it is.
    const stopRecording = await record(
      one,
      [
        { key: a.key, isBorrower: false },
        { key: b.key, isBorrower: true },
      ],
      { name: system, says: 'an owner wakes up beside a borrower', capacityBytes: NODE_MIB * 1024 * 1024 },
    );
    await beginTurn(a, 2, WORK);
    const pressed = await endOfTurn(a, 2);
    const frozen = await untilDone(one, b, 'freeze');
    const frozenAfterMs = Date.parse(frozen.at) - pressed.wokeAtMs;
    await untilDone(one, b, 'evict');
    await untilDone(one, b, 'memory is back');
    await stopRecording();
    await untilOn(two, b, 'running');
    const words = await caddis(one, 'explain', b.key);
    expect(words).toMatch(/freeze: owners (want|grow)/);
    await endBorrower(lab, b, BORROWER);

    expect(await outputOf(a)).not.toContain('Killed');
    expect(await machineOf(one, a)).toMatchObject({ phase: 'running' });
    console.log(
      `${system}: frozen ${frozenAfterMs} ms after its owner woke up; what the owner notices beside how much it differs alone: npm run bench -- giveback`,
    );
    expect(frozenAfterMs).toBeLessThan(FROZEN_WITHIN_MS);
    for (const job of jobs) await remove(lab, job);
    await untilNothingLeft(lab);
  });
});
