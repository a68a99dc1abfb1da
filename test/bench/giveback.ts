import { messageOf } from '../../src/model/errors.ts';
import { endOfTurn, restart, type Turn, untilRested, wake } from '../integration/pressure/lending.ts';
import type { BatchSystem } from '../integration/support/batch.ts';
import type { Lab } from '../lab/host.ts';
import { pinRunner } from '../lab/pinning.ts';
import { type Bench, type BenchOptions, type Figures, onLab } from './bench.ts';
import { type Eviction, evictionOf, giveBackOnce, withOwner } from './giveback-scene.ts';
import type { Watched } from './giveback-watch.ts';
import { notice } from './notice.ts';
import { runaway } from './runaway.ts';
import { spread } from './statistics.ts';

const SIZES_MB = [200, 1000, 2000];
const RUNS = 3;
const SECONDS = 120;
/** An owner of which only the give-back is wanted works until it is taken away. */
const LONGEST_S = 300;
const FROZEN_AIM_MS = 2_000;

/**
 * How soon an owner that wakes up has what was lent to a borrower of each size, by what the host's /proc says of both QEMUs, beside what was predicted. For the first size also what the owner
 * notices of it: its work beside a borrower that is evicted against its work alone, in turns, beside how much it differs alone. Of the others, and of Grid Engine, one give-back each: the
 * scheduler only carries out the requeue, and a turn of two minutes for each would take an hour. Last, what a neighbour notices of a job that meets its wall.
 */
export const giveback: Bench = (options) =>
  onLab(options.say, async (lab) => {
    await pinRunner();
    const { seconds = SECONDS, runs = RUNS, say } = options;
    const [first = 0, ...others] = options.sizes ?? SIZES_MB;
    const figures: Record<string, Figures> = {};
    const begun = performance.now();
    /** What was measured in a quarter of an hour is not lost by what comes after it. */
    const part = async (name: string, of: () => Promise<Figures>) => {
      figures[name] = await of().catch((error: unknown) => {
        say(`${name} failed: ${error instanceof Error ? error.stack : error}`);
        return { failed: messageOf(error) };
      });
      say(
        `${name}, after ${Math.round((performance.now() - begun) / 1000)} s: ${JSON.stringify(figures[name])}`,
      );
    };
    try {
      await part(nameOf(first), () => measure(lab, first, { seconds, runs, say }));
      for (const size of others) await part(nameOf(size), () => timesOf(lab, 'slurm', size));
      await part(`gridengine_${nameOf(first)}`, () => timesOf(lab, 'gridengine', first));
      await part('runaway', () => runaway(lab, runs, say));
    } finally {
      for (const node of lab.nodes) await restart(lab, node);
    }
    return {
      turn_seconds: seconds,
      took_seconds: Math.round((performance.now() - begun) / 1000),
      ...figures,
    };
  });

function nameOf(size: number): string {
  return `borrower_${size}_mb`;
}

interface Given extends Eviction {
  readonly watched: Watched;
}

interface Round extends Given {
  readonly beside: Turn;
  readonly alone: Turn;
}

/** Turns beside a borrower and turns alone, alternating. */
function measure(
  lab: Lab,
  size: number,
  { seconds, runs, say }: { seconds: number; runs: number; say: BenchOptions['say'] },
): Promise<Figures> {
  return withOwner(lab, { system: 'slurm', size, seconds }, async (scene) => {
    const { node, owner, work, warmUp } = scene;
    await wake(owner, 1, warmUp);
    const rounds: Round[] = [];
    for (let run = 1; run <= runs; run++) {
      const turn = 2 * run;
      const given = await giveBackOnce(scene, turn);
      const beside = await endOfTurn(owner, turn);
      const eviction = await evictionOf(scene, given);
      await untilRested(node, owner);
      const alone = await wake(owner, turn + 1, work);
      rounds.push({ watched: given.watched, ...eviction, beside, alone });
      say(`borrower of ${size} MB, run ${run}: ${JSON.stringify(rounds.at(-1))}`);
    }
    return {
      ...inFigures(rounds),
      owner_allocation: noticed(rounds, ({ allocatedSeconds }) => 1000 * allocatedSeconds),
      owner_work: noticed(rounds, ({ unitsPerSecond }) => 1000 / unitsPerSecond),
    };
  });
}

/** One give-back, and no more. */
function timesOf(lab: Lab, system: BatchSystem, size: number): Promise<Figures> {
  return withOwner(lab, { system, size, seconds: LONGEST_S }, async (scene) => {
    const given = await giveBackOnce(scene, 1);
    return inFigures([{ watched: given.watched, ...(await evictionOf(scene, given)) }]);
  });
}

function noticed(rounds: readonly Round[], ms: (turn: Turn) => number): Figures {
  return notice(rounds.map(({ beside, alone }) => ({ besideMs: ms(beside), aloneMs: ms(alone) })));
}

function inFigures(given: readonly Given[]): Figures {
  const of = (what: (one: Given) => number) => spread(given.map(what), 'ms');
  return {
    from_first_page_to_frozen: {
      ...of(({ watched }) => watched.frozenMs),
      aim_ms: FROZEN_AIM_MS,
      met: given.every(({ watched }) => watched.frozenMs <= FROZEN_AIM_MS),
    },
    to_cpu_gone: of(({ watched }) => watched.cpuGoneMs),
    to_memory_gone: of(({ watched }) => watched.memoryGoneMs),
    eviction_predicted: of(({ predictedMs }) => predictedMs),
    eviction_took: of(({ tookMs }) => tookMs),
    cpu_of_its_qemu: of(({ watched }) => watched.savingCpuMs),
    cpu_of_the_rest_of_the_host: of(({ watched }) => watched.othersCpuMs),
  };
}
