import { machineOf } from '../integration/moving/support.ts';
import {
  beginTurn,
  endOfTurn,
  explain,
  makeSmall,
  outputOf,
  remove,
  residentOf,
  restart,
  smallNode,
  startBorrower,
  startOwner,
  type Turn,
  untilDone,
  untilRested,
  untilSays,
  type Work,
  wake,
} from '../integration/pressure/lending.ts';
import { waitForEnd } from '../integration/support/batch.ts';
import type { Lab, LabHost } from '../lab/host.ts';
import { pinRunner } from '../lab/pinning.ts';
import { type Bench, type BenchOptions, type Figures, onLab } from './bench.ts';
import { type Watched, watchGiveBack } from './giveback-watch.ts';
import { median, rounded, spread } from './statistics.ts';

const SIZES_MB = [200, 1000, 2000];
const RUNS = 3;
const SECONDS = 120;
/** Blocks in which Linux brings plugged memory online, and what a machine is made with. */
const BLOCK_MIB = 128;
const BASE_MIB = 256;

/**
 * How soon an owner that wakes up has what was lent to a borrower of each size, by what the host's /proc says of both QEMUs, beside what was predicted; and what the owner
 * notices of it: its work beside a borrower that is evicted against its work alone, in turns, beside how much it differs alone.
 */
export const giveback: Bench = (options) =>
  onLab(options.say, async (lab) => {
    await pinRunner();
    const figures: Record<string, Figures> = {};
    try {
      for (const size of options.sizes ?? SIZES_MB)
        figures[`borrower_${size}_mb`] = await measure(lab, size, options);
    } finally {
      for (const node of lab.nodes) await restart(lab, node);
    }
    return { window_seconds: options.seconds ?? SECONDS, ...figures };
  });

interface Round {
  readonly watched: Watched;
  readonly predictedMs: number;
  readonly beside: Turn;
  readonly alone: Turn;
}

async function measure(lab: Lab, size: number, options: BenchOptions): Promise<Figures> {
  const { runs = RUNS, say } = options;
  const [node] = lab.nodes as [LabHost];
  const owned = Math.ceil((1.5 * size + 1000) / BLOCK_MIB) * BLOCK_MIB + BASE_MIB;
  await makeSmall(lab, owned);
  const work = { megabytes: Math.round(owned - 64 - 500), seconds: options.seconds ?? SECONDS };
  const owner = await startOwner(lab, 'slurm', node, owned - 64, [work]);
  const rounds: Round[] = [];
  const rest = await residentOf(node, owner);
  try {
    for (let run = 1; run <= runs; run++) {
      rounds.push(await round(lab, node, owner, { size, owned, run, work, rest }));
      say(`borrower of ${size} MB, run ${run}: ${JSON.stringify(rounds.at(-1)?.watched)}`);
    }
  } finally {
    await remove(lab, owner);
    await waitForEnd(lab, 'slurm', owner.id);
  }
  return inFigures(rounds);
}

async function round(
  lab: Lab,
  node: LabHost,
  owner: Awaited<ReturnType<typeof startOwner>>,
  { size, owned, run, work, rest }: { size: number; owned: number; run: number; work: Work; rest: number },
): Promise<Round> {
  // A new caddisd has not seen the owner grow in an earlier turn: what it grew by is not lent for two minutes.
  await restart(lab, node, smallNode(owned));
  const borrower = await startBorrower(lab, 'slurm', { memory: size + 150, megabytes: size });
  try {
    await untilSays(borrower, 'tick 3 ');
    const [mine, lent] = await Promise.all([pidOf(node, owner), pidOf(node, borrower)]);
    if (run > 1) await untilRested(node, owner, rest);
    const watch = watchGiveBack(mine, lent);
    const turn = 2 * run - 1;
    await beginTurn(owner, turn, work);
    const watched = await watch;
    const evicted = await untilDone(node, borrower, 'evict');
    const beside = await endOfTurn(owner, turn);
    await untilRested(node, owner, rest);
    return {
      ...{ watched, beside, alone: await wake(owner, turn + 1, work) },
      predictedMs: evicted.numbers.predicted_give_back_ms ?? Number.NaN,
    };
  } catch (error) {
    const { history } = await explain(node, borrower);
    throw new Error(`${JSON.stringify(history)}\n${await outputOf(owner)}`, { cause: error });
  } finally {
    await remove(lab, borrower);
    await waitForEnd(lab, 'slurm', borrower.id);
  }
}

async function pidOf(node: LabHost, { key }: { key: string }): Promise<number> {
  const pid = (await machineOf(node, { key }))?.qemu_pid;
  if (!pid) throw new Error(`no QEMU of ${key} on ${node.name}`);
  return pid;
}

function inFigures(rounds: readonly Round[]): Figures {
  const of = (what: (one: Round) => number) => spread(rounds.map(what), 'ms');
  const slower = (what: (turn: Turn) => number) => {
    const beside = median(rounds.map((one) => what(one.beside)));
    const alone = rounds.map((one) => what(one.alone));
    return {
      slower_percent: rounded(100 * (beside / median(alone) - 1)),
      alone_spread_percent: rounded((100 * (Math.max(...alone) - Math.min(...alone))) / median(alone)),
    };
  };
  return {
    from_first_page_to_frozen: of(({ watched }) => watched.frozenMs),
    to_cpu_gone: of(({ watched }) => watched.cpuGoneMs),
    to_memory_gone: of(({ watched }) => watched.memoryGoneMs),
    predicted_give_back: of(({ predictedMs }) => predictedMs),
    owner_allocation: slower(({ allocatedSeconds }) => allocatedSeconds),
    owner_work: slower(({ unitsPerSecond }) => 1 / unitsPerSecond),
  };
}
