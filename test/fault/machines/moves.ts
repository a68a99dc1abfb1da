import { asUser } from '../../integration/support/batch.ts';
import type { Lab } from '../../lab/host.ts';
import { type CountingJob, progressOf } from './counting-job.ts';
import type { Placed } from './placed.ts';
import { describe, look, type Sight } from './sight.ts';

/** From the request to the job counting again, restarts and waits for leases included. */
export const MOVE_MS = 100_000;
const LOOK_EVERY_MS = 500;
/** Grid Engine has no count of restarts: a job that did not move at all is taken as it is after this long. */
const UNMOVED_MS = 8_000;
/** A job that no scheduler lists for so many looks has ended. */
const LOOKS_WITHOUT = 4;
const STEER_EVERY_MS = 3_000;

const root = { user: 'root' };

/** Asks the schedulers for all moves at once, and waits until each job counts again, wherever. What is wrong with those that do not. */
export async function carryOut(
  lab: Lab,
  placed: readonly Placed[],
  before: ReadonlyMap<CountingJob, Sight>,
  begun: number,
): Promise<Map<CountingJob, string>> {
  const from = placed.find(({ job }) => job.system === 'gridengine')?.from.host.name;
  if (from !== undefined) await asUser(lab, ['qmod', '-d', `move.q@${from}`], root);
  await Promise.all(
    placed.map(({ job: { system, id } }) =>
      asUser(lab, system === 'slurm' ? ['scontrol', 'requeue', id] : ['qmod', '-sj', id], root),
    ),
  );
  const open = new Map(placed.map((one) => [one.job, new Moving(lab, one, before.get(one.job), begun)]));
  const wrong = new Map<CountingJob, string>();
  while (open.size > 0 && Date.now() - begun < MOVE_MS) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    const sights = await look(lab, [...open.keys()]);
    for (const [job, moving] of open) {
      const outcome = await moving.take(sights.get(job) as Sight);
      if (outcome === 'moving') continue;
      open.delete(job);
      if (outcome !== 'counts') wrong.set(job, outcome.wrong);
    }
  }
  for (const [job, moving] of open) wrong.set(job, `stuck for ${MOVE_MS / 1000} s: ${moving.last}`);
  if (from !== undefined) await asUser(lab, ['qmod', '-e', `move.q@${from}`], root);
  return wrong;
}

/** One job on its way. */
class Moving {
  /** The last sight, in words. */
  last = 'never seen';
  readonly #lab: Lab;
  readonly #placed: Placed;
  readonly #known: readonly string[];
  readonly #begun: number;
  #linesBefore: number | undefined;
  #steeredAt = 0;
  #looksWithout = 0;

  constructor(lab: Lab, placed: Placed, before: Sight | undefined, begun: number) {
    this.#lab = lab;
    this.#placed = placed;
    this.#known = before?.machines.map(({ incarnation }) => incarnation) ?? [];
    this.#begun = begun;
  }

  async take(sight: Sight): Promise<'moving' | 'counts' | { readonly wrong: string }> {
    const { job } = this.#placed;
    this.last = describe(sight);
    if (/^E|Held/.test(`${sight.state}${sight.reason}`))
      return { wrong: `it is held or in error: ${this.last}` };
    this.#looksWithout = sight.state === '' ? this.#looksWithout + 1 : 0;
    if (this.#looksWithout >= LOOKS_WITHOUT) return { wrong: `it has ended: ${this.last}` };
    await this.#steer(sight);
    const running = sight.machines.find(({ phase }) => phase === 'running');
    const hasMoved = running !== undefined && !this.#known.includes(running.incarnation);
    const isAsItWas =
      running !== undefined && job.system === 'gridengine' && Date.now() - this.#begun > UNMOVED_MS;
    if (!(hasMoved || isAsItWas) || !/^(RUNNING|r|Rr|hr)$/.test(sight.state)) {
      this.#linesBefore = undefined;
      return 'moving';
    }
    const { runs, wrong } = await progressOf(job);
    // The judge says what.
    if (wrong !== undefined) return 'counts';
    const lines = runs.reduce((sum, run) => sum + run.lines, 0);
    this.#linesBefore ??= lines;
    return lines >= this.#linesBefore + 2 ? 'counts' : 'moving';
  }

  /** A Slurm job that waits is told where to go, and not to wait. */
  async #steer({ state }: Sight): Promise<void> {
    if (state !== 'PENDING' || Date.now() - this.#steeredAt < STEER_EVERY_MS) return;
    this.#steeredAt = Date.now();
    const { job, to } = this.#placed;
    const where = `reqnodelist=${to.host.name}`;
    await asUser(this.#lab, ['scontrol', 'update', `jobid=${job.id}`, where, 'StartTime=now'], root);
  }
}
