import { machineOf } from '../integration/moving/support.ts';
import {
  beginTurn,
  explain,
  type LentJob,
  makeSmall,
  outputOf,
  remove,
  restart,
  smallNode,
  startBorrower,
  startOwner,
  untilDone,
  untilRested,
  untilSays,
  type Work,
} from '../integration/pressure/lending.ts';
import { type BatchSystem, waitForEnd } from '../integration/support/batch.ts';
import type { Lab, LabHost } from '../lab/host.ts';
import { type Watched, watchGiveBack } from './giveback-watch.ts';

/** Blocks in which Linux brings plugged memory online, and what a machine is made with. */
const BLOCK_MIB = 128;
const BASE_MIB = 256;

/** An owner that has a small node to itself, and what it is lent to. */
export interface Scene {
  readonly lab: Lab;
  readonly system: BatchSystem;
  readonly node: LabHost;
  readonly owner: LentJob;
  /** MiB of machines in all on the node. */
  readonly owned: number;
  /** MB of the borrower. */
  readonly size: number;
  /** What the owner does when it wakes up: it takes most of what it has reserved, and spins. */
  readonly work: Work;
  /** The same memory, and no more spinning than that takes: the first allocation of a job is the slowest. */
  readonly warmUp: Work;
}

export interface GivenBack {
  readonly watched: Watched;
  /** It is gone for good: it would come back as soon as its owner sleeps. */
  readonly borrower: LentJob;
}

/** From the decision to evict until the memory was back, by the node's own record. */
export interface Eviction {
  readonly predictedMs: number;
  readonly tookMs: number;
}

/** Brings up the owner for borrowers of `size` MB, and takes it away again. */
export async function withOwner<T>(
  lab: Lab,
  { system, size, seconds }: { system: BatchSystem; size: number; seconds: number },
  use: (scene: Scene) => Promise<T>,
): Promise<T> {
  const [node] = lab.nodes as [LabHost];
  const owned = Math.ceil((1.5 * size + 1000) / BLOCK_MIB) * BLOCK_MIB + BASE_MIB;
  await makeSmall(lab, owned);
  const megabytes = Math.round(owned - 64 - 500);
  const work = { megabytes, seconds };
  const warmUp = { megabytes, seconds: 1 };
  const owner = await startOwner(lab, system, node, owned - 64, [work, warmUp]);
  try {
    return await use({ lab, system, node, owner, owned, size, work, warmUp });
  } finally {
    await end(lab, owner);
  }
}

/** Starts a borrower, begins this turn of the owner, and returns when all is given back. Nothing else runs on the owner's node meanwhile: it has a core of its own. */
export async function giveBackOnce(scene: Scene, turn: number): Promise<GivenBack> {
  const { lab, system, node, owner, owned, size, work } = scene;
  // A new caddisd has not seen the owner grow in an earlier turn: what it grew by is not lent for two minutes.
  await restart(lab, node, smallNode(owned));
  const borrower = await startBorrower(lab, system, { memory: size + 150, megabytes: size });
  try {
    await untilSays(borrower, 'tick 3 ');
    const [mine, lent] = await Promise.all([pidOf(node, owner), pidOf(node, borrower)]);
    if (turn > 1) await untilRested(node, owner);
    const watch = watchGiveBack(node.name, { owner: mine, borrower: lent });
    await beginTurn(owner, turn, work);
    return { watched: await watch, borrower };
  } catch (error) {
    const { history } = await explain(node, borrower);
    throw new Error(`${JSON.stringify(history)}\n${await outputOf(owner)}`, { cause: error });
  } finally {
    await end(lab, borrower);
  }
}

/** To be asked when the turn is over: asking takes the owner's CPU. */
export async function evictionOf({ node }: Scene, { borrower }: GivenBack): Promise<Eviction> {
  const { numbers } = await untilDone(node, borrower, 'memory is back');
  return {
    predictedMs: numbers.predicted_give_back_ms ?? Number.NaN,
    tookMs: numbers.took_ms ?? Number.NaN,
  };
}

async function end(lab: Lab, job: LentJob): Promise<void> {
  await remove(lab, job);
  await waitForEnd(lab, job.system, job.id);
}

async function pidOf(node: LabHost, { key }: LentJob): Promise<number> {
  const pid = (await machineOf(node, { key }))?.qemu_pid;
  if (!pid) throw new Error(`no QEMU of ${key} on ${node.name}`);
  return pid;
}
