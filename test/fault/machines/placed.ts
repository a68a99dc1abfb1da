import type { BatchSystem } from '../../integration/support/batch.ts';
import type { CountingJob } from './counting-job.ts';
import type { Sight } from './sight.ts';
import type { Variant } from './variant.ts';
import type { WatchedHost } from './watched-host.ts';

/** One job of a move: where it is, where it goes, and what happens to it on its way. */
export interface Placed {
  readonly job: CountingJob;
  readonly from: WatchedHost;
  readonly to: WatchedHost;
  readonly variant: Variant | undefined;
}

/** The host on which a variant of each side would strike. */
type Struck = Readonly<Record<Variant['side'], WatchedHost>>;

/** Gives the next variant for a job, of this side if there is one. */
export type NextVariant = (side: Variant['side'], struck: Struck) => Variant | undefined;

/** Where each job is and goes to. Grid Engine's go one way at a time, since its queue instances say where. */
export function place(
  jobs: readonly CountingJob[],
  [one, two]: readonly [WatchedHost, WatchedHost],
  sights: ReadonlyMap<CountingJob, Sight>,
  next: NextVariant,
): Placed[] {
  const placed: Placed[] = [];
  const ways = new Map<BatchSystem, WatchedHost>();
  for (const job of jobs) {
    const at = sights.get(job)?.machines.find(({ phase }) => phase === 'running')?.host;
    const from = [one, two].find(({ host }) => host.name === at);
    if (!from) continue;
    const way = job.system === 'gridengine' ? (ways.get(job.system) ?? from) : from;
    if (way !== from) continue;
    const isFirst = !ways.has(job.system);
    ways.set(job.system, way);
    const to = from === one ? two : one;
    placed.push({ job, from, to, variant: next(isFirst ? 'save' : 'restore', { save: from, restore: to }) });
  }
  return placed;
}
