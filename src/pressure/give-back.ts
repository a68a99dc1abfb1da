import { type CpuNeed, type CpuSituation, cpuNeed } from './give-back-cpu.ts';
import { type MemoryPlan, type MemorySituation, memoryPlan } from './give-back-memory.ts';
import { relax } from './give-back-relax.ts';
import { inOrder, type Victim } from './victims.ts';

/** What a look at the node gives the policy. Times are the monotonic clock's, in milliseconds. */
export interface Situation {
  readonly nowMs: number;
  /** Undefined: the host or its owners were not seen just now. Nothing new is done for want of data. */
  readonly memory: MemorySituation | undefined;
  readonly cpu: CpuSituation | undefined;
  readonly borrowers: readonly Victim[];
  /** Parked machines, of whichever job: the store has all of them. */
  readonly parked: readonly { readonly job: string; readonly residentBytes: number }[];
  /** What saves move, in bytes a second. */
  readonly bandwidth: { readonly save: number };
  /** Why nothing can be saved now (no store, away, full), if so. */
  readonly storeTrouble: string | undefined;
  /** A machine that stands still for owners for so long does better elsewhere. */
  readonly evictAfterMs: number;
  /** There has been room for what stands still since; undefined: there is none. From the last verdict. */
  readonly calmSinceMs: number | undefined;
}

type Measure =
  /** As little of the CPU as the kernel gives, or the little that a borrower starts with. */
  | { readonly do: 'least-weight' }
  | { readonly do: 'low-weight' }
  /** By balloon; all that it has by now, in bytes. */
  | { readonly do: 'reclaim'; readonly balloonBytes: number }
  | { readonly do: 'deflate' }
  | { readonly do: 'freeze' }
  | { readonly do: 'thaw' }
  /** Save it and send it back to the queue, from which it goes on elsewhere. */
  | { readonly do: 'evict' }
  /** End a parked machine. */
  | { readonly do: 'end-parked' };

export type Numbers = Readonly<Record<string, number>>;

export interface Act {
  readonly job: string;
  readonly measure: Measure;
  readonly why: string;
  readonly numbers: Numbers;
}

export interface Verdict {
  /** In the order in which they are to be done. */
  readonly acts: readonly Act[];
  /** In words: what the whole look came to, also why nothing is done. */
  readonly why: string;
  readonly numbers: Numbers;
  readonly calmSinceMs: number | undefined;
}

/**
 * What to take back from borrowers now. The ladder: less weight, what a balloon gets, freeze, save and requeue; the lowest rung that is done before its owner needs it. An owner
 * that wants its CPUs has them at once. Never touches an owner; without fresh numbers nothing new happens.
 */
export function giveBack(situation: Situation): Verdict {
  const { borrowers, memory, cpu, nowMs } = situation;
  if (borrowers.length === 0 && situation.parked.length === 0)
    return { acts: [], why: 'nothing is lent here', numbers: {}, calmSinceMs: undefined };
  if (!memory || !cpu)
    return {
      acts: [],
      why: 'the host or its owners were not seen just now: nothing is done for want of data',
      numbers: {},
      calmSinceMs: undefined,
    };
  const plan = memoryPlan(memory, situation);
  const need = cpuNeed(cpu, borrowers);
  const numbers = { ...plan.numbers, ...need.numbers };
  const acts = [...forCpus(need, borrowers), ...forMemory(plan, situation)];
  const done = merged([...acts, ...forLongStanding(situation, plan, need)]);
  if (done.length > 0) return { acts: done, why: done[0]?.why ?? '', numbers, calmSinceMs: undefined };
  if (plan.isPressing || !need.hasRoom) {
    const why = plan.isPressing ? plan.why : need.why;
    const stuck =
      situation.storeTrouble === undefined ? '' : `; nothing can be saved: ${situation.storeTrouble}`;
    return { acts: [], why: why + stuck, numbers, calmSinceMs: undefined };
  }
  const calmSinceMs = situation.calmSinceMs ?? nowMs;
  const eased = relax(borrowers, { calmMs: nowMs - calmSinceMs, cpu: need, memory: plan, numbers });
  return {
    acts: eased,
    why: eased[0]?.why ?? plan.why,
    numbers,
    // One step at a time, and what comes of it is looked at.
    calmSinceMs: eased.length > 0 ? nowMs : calmSinceMs,
  };
}

function forCpus(need: CpuNeed, borrowers: readonly Victim[]): Act[] {
  if (need.is === 'none') return [];
  const awake = borrowers.filter(({ standing }) => standing === 'awake');
  return inOrder(awake).flatMap((victim) => {
    const act = (measure: Measure) => ({ job: victim.job, measure, why: need.why, numbers: need.numbers });
    // One that leaves the CPUs alone harms nobody by being awake.
    if (need.is === 'all' && victim.cpus >= need.harmsFromCpus) return [act({ do: 'freeze' })];
    return victim.weight === 'least' ? [] : [act({ do: 'least-weight' })];
  });
}

function forMemory(plan: MemoryPlan, { storeTrouble, parked }: Situation): Act[] {
  if (plan.rung === 'none') return [];
  const act = (job: string, measure: Measure, why = plan.why): Act => ({
    ...{ job, measure, why, numbers: plan.numbers },
  });
  const ended = parked.map(({ job }) => act(job, { do: 'end-parked' }));
  return [
    ...ended,
    ...plan.victims.flatMap((victim): Act[] => {
      const freeze = victim.standing === 'awake' ? [act(victim.job, { do: 'freeze' })] : [];
      const obstacle = storeTrouble ?? victim.unsavable;
      if (plan.rung === 'reclaim' || (obstacle !== undefined && victim.standing === 'awake')) {
        // What stands still cannot fill its balloon: first this, then the freeze.
        if (victim.reclaimableBytes >= plan.worthReclaimingBytes)
          return [
            act(
              victim.job,
              {
                do: 'reclaim',
                balloonBytes: victim.balloonBytes + victim.untouchedBytes + victim.reclaimableBytes,
              },
              obstacle === undefined ? plan.why : `${plan.why}; it cannot be saved: ${obstacle}`,
            ),
          ];
        if (plan.rung === 'reclaim' || victim.isReclaiming) return [];
      }
      if (plan.rung === 'freeze' || obstacle !== undefined)
        return freeze.map((one) =>
          obstacle === undefined
            ? one
            : { ...one, why: `${one.why}; frozen only, since it cannot be saved: ${obstacle}` },
        );
      return [...freeze, act(victim.job, { do: 'evict' })];
    }),
  ];
}

/** What has stood still for long while its owner goes on using what is its own. */
function forLongStanding(
  { borrowers, storeTrouble, evictAfterMs }: Situation,
  plan: MemoryPlan,
  need: CpuNeed,
): Act[] {
  if (storeTrouble !== undefined || (need.hasRoom && !plan.isPressing)) return [];
  return inOrder(borrowers)
    .filter(
      ({ standing, standingMs, unsavable }) =>
        standing === 'pressed' && standingMs >= evictAfterMs && unsavable === undefined,
    )
    .map(({ job, standingMs }) => ({
      job,
      measure: { do: 'evict' as const },
      why: `it has stood still for ${Math.round(standingMs / 1000)} s and may go on elsewhere; ${plan.isPressing ? plan.why : need.why}`,
      numbers: { ...plan.numbers, ...need.numbers, stood_still_ms: Math.round(standingMs) },
    }));
}

/** CPUs and memory may ask for the same thing. */
function merged(acts: readonly Act[]): Act[] {
  const seen = new Set<string>();
  return acts.filter(({ job, measure }) => {
    const key = `${job} ${measure.do}`;
    return !seen.has(key) && seen.add(key);
  });
}
