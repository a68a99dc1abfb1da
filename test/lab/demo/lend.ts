import { messageOf } from '../../../src/model/errors.ts';
import { machineOf } from '../../integration/moving/support.ts';
import {
  beginTurn,
  caddis,
  endBorrower,
  endOfTurn,
  letSecondLend,
  makeSmall,
  NODE_MIB,
  remove,
  restart,
  SLOW_MS,
  startBorrower,
  startOwner,
  untilDone,
  untilSays,
} from '../../integration/pressure/lending.ts';
import { type BatchSystem, waitForEnd } from '../../integration/support/batch.ts';
import type { Lab, LabHost } from '../host.ts';
import { until } from '../process.ts';
import type { Timeline } from './timeline.ts';

const OWNER_MIB = 1600;
const WORK = { megabytes: 800, seconds: 5 };
const BORROWER = { memory: 300, megabytes: 50 };

/** A small job runs in what a large one has reserved and leaves idle, and is gone before that feels it. */
export async function lend(lab: Lab, system: BatchSystem, timeline: Timeline): Promise<void> {
  const [one] = lab.nodes as [LabHost];
  const submit = system === 'slurm' ? 'sbatch -p scavenge' : 'qsub -q scavenge.q';
  await makeSmall(lab, NODE_MIB);
  try {
    const a = await startOwner(lab, system, one, OWNER_MIB, [WORK]);
    timeline.happened(`A (job ${a.id}) reserves all CPUs and ${OWNER_MIB} MiB of ${one.name}, and sleeps`);
    const b = await startBorrower(lab, system, BORROWER);
    await untilSays(b, 'tick 3 ');
    timeline.happened(
      `alice: ${submit} count.sh  (job ${b.id}: B counts on ${one.name}, in what A leaves idle)`,
    );
    await letSecondLend(lab, NODE_MIB);
    await beginTurn(a, 1, WORK);
    const frozen = await untilDone(one, b, 'freeze');
    await untilDone(one, b, 'memory is back');
    const turn = await endOfTurn(a, 1);
    const afterMs = Date.parse(frozen.at) - turn.wokeAtMs;
    timeline.happened(
      `A wakes up, takes ${WORK.megabytes} MiB in ${turn.allocatedSeconds.toFixed(1)} s, and spins on every CPU`,
    );
    timeline.claim(afterMs < 2_000, `B stood still ${afterMs} ms after A woke up (${frozen.why})`);
    timeline.output((await caddis(one, 'explain', b.key)).split('\n').slice(-8).join('\n'));
    timeline.happened(`B goes on at ${(await whereItRuns(lab, b)).name}`);
    const failure = await endBorrower(lab, b, BORROWER).then(
      () => undefined,
      (error: unknown) => messageOf(error),
    );
    timeline.claim(
      failure === undefined,
      `B has counted on where it stood: not a tick lost or twice, its data bit for bit${failure ? ` (${failure})` : ''}`,
    );
    await remove(lab, a);
    await waitForEnd(lab, system, a.id, SLOW_MS);
  } finally {
    for (const node of lab.nodes) await restart(lab, node);
  }
}

/** On the other host; or back on its own, if its owner needed less than it had reserved. */
async function whereItRuns(lab: Lab, job: { key: string }): Promise<LabHost> {
  let found: LabHost | undefined;
  await until(
    `${job.key} to go on`,
    async () => {
      for (const node of lab.nodes) if ((await machineOf(node, job))?.phase === 'running') found = node;
      return found !== undefined;
    },
    { timeoutMs: SLOW_MS, everyMs: 500 },
  );
  return found as LabHost;
}
