import { remove, restart, startOwner, type Turn, wake } from '../integration/pressure/lending.ts';
import { waitForEnd } from '../integration/support/batch.ts';
import { cancel, outputOf, startJob } from '../integration/support/machines.ts';
import type { Lab, LabHost } from '../lab/host.ts';
import type { BenchOptions, Figures } from './bench.ts';
import { notice } from './notice.ts';

const SECONDS = 10;
const WORK = { megabytes: 50, seconds: SECONDS };
const NEIGHBOUR_MIB = 200;
const ASKED_MIB = 200;
/** 4 MiB at a time, as fast as it can: its wall kills it, and it begins again. */
const HOG = `held = []
while True:
    held.append(bytearray(b'x') * (4 << 20))
`;
const AGAIN_AND_AGAIN = 'echo ready; while :; do python3 hog.py; echo "wall $?"; done';

/** What a job that works in its own machine notices of a job beside it that wants far more memory than it asked for, in turns with and without. */
export async function runaway(lab: Lab, runs: number, say: BenchOptions['say']): Promise<Figures> {
  const [node] = lab.nodes as [LabHost];
  await restart(lab, node);
  const neighbour = await startOwner(lab, 'slurm', node, NEIGHBOUR_MIB, [WORK], 1);
  const rounds: { beside: Turn; alone: Turn }[] = [];
  let walls = 0;
  try {
    for (let run = 1; run <= runs; run++) {
      const alone = await wake(neighbour, 2 * run - 1, WORK);
      const hog = await startJob(lab, 'slurm', { node, memory: `${ASKED_MIB}M` }, AGAIN_AND_AGAIN, {
        'hog.py': HOG,
      });
      try {
        rounds.push({ alone, beside: await wake(neighbour, 2 * run, WORK) });
        walls += (await outputOf(hog, 'out')).match(/^wall 137$/gm)?.length ?? 0;
      } finally {
        await cancel(hog);
      }
      say(`beside a runaway, run ${run}: ${JSON.stringify(rounds.at(-1))}`);
    }
  } finally {
    await remove(lab, neighbour);
    await waitForEnd(lab, 'slurm', neighbour.id);
  }
  return {
    asked_mib: ASKED_MIB,
    met_its_wall_times: walls,
    neighbours_work: notice(rounds, ({ unitsPerSecond }) => 1 / unitsPerSecond),
  };
}
