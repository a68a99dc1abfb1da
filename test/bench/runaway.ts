import { setTimeout as sleep } from 'node:timers/promises';

import { restart } from '../integration/pressure/lending.ts';
import { cancel, outputOf, type RunningJob, startJob } from '../integration/support/machines.ts';
import type { Lab, LabHost } from '../lab/host.ts';
import type { BenchOptions, Figures } from './bench.ts';
import { notice } from './notice.ts';

const WINDOW_MS = 10_000;
const ASKED_MIB = 200;
/** 4 MiB at a time until its wall kills it, and again. Paced, as the neighbour is: a node of the lab has one core for both, and it is memory that is asked about. */
const HOG = `import time
held = []
while True:
    held.append(bytearray(b'x') * (4 << 20))
    time.sleep(0.05)
`;
const AGAIN_AND_AGAIN = 'echo ready; while :; do python3 hog.py; echo "wall $?"; done';
/** Touches 8 MiB, which it would lose if its memory were taken, says when it did, and pauses. */
const TICK = `import time
memory = bytearray(8 << 20)
print('ready', flush=True)
while True:
    for i in range(0, len(memory), 4096):
        memory[i] ^= 1
    print('%.3f' % time.time(), flush=True)
    time.sleep(0.05)
`;

/** What a job that works in its own machine notices of a job beside it that wants far more memory than it asked for, in turns with and without. */
export async function runaway(lab: Lab, runs: number, say: BenchOptions['say']): Promise<Figures> {
  const [node] = lab.nodes as [LabHost];
  await restart(lab, node);
  const neighbour = await startJob(lab, 'slurm', { node, memory: '100M' }, 'exec python3 tick.py', {
    'tick.py': TICK,
  });
  const turns: { besideMs: number; aloneMs: number }[] = [];
  let walls = 0;
  try {
    for (let run = 1; run <= runs; run++) {
      const aloneMs = await msPerTick(neighbour);
      const hog = await startJob(lab, 'slurm', { node, memory: `${ASKED_MIB}M` }, AGAIN_AND_AGAIN, {
        'hog.py': HOG,
      });
      try {
        turns.push({ aloneMs, besideMs: await msPerTick(neighbour) });
        walls += (await outputOf(hog, 'out')).match(/^wall 137$/gm)?.length ?? 0;
      } finally {
        await cancel(hog);
      }
      say(`beside a runaway, run ${run}: ${JSON.stringify(turns.at(-1))}`);
    }
  } finally {
    await cancel(neighbour);
  }
  return { asked_mib: ASKED_MIB, met_its_wall_times: walls, neighbours_work: notice(turns) };
}

/** By the job's own clock, which is the host's within milliseconds. */
async function msPerTick(job: RunningJob): Promise<number> {
  const from = Date.now() / 1000;
  await sleep(WINDOW_MS);
  const ticks = (await outputOf(job, 'out'))
    .split('\n')
    .map(Number)
    .filter((at) => at > from);
  const [first = 0] = ticks;
  if (ticks.length < 2) throw new Error(`${job.key} stood still for ${WINDOW_MS / 1000} s`);
  return (1000 * ((ticks.at(-1) as number) - first)) / (ticks.length - 1);
}
