import type { Act, Numbers } from './give-back.ts';
import type { CpuNeed } from './give-back-cpu.ts';
import type { MemoryPlan } from './give-back-memory.ts';
import { inOrder, type Victim } from './victims.ts';

/** There has to have been room for so long before a measure is taken back; an owner that pauses between two phases is not taken for one that is done. */
const CALM_MS = 10_000;

/**
 * Takes measures back, one step after each time of calm, in the reverse order of the ladder: thaw, deflate, weight. The machine that would go last is the first to go on.
 */
export function relax(
  borrowers: readonly Victim[],
  {
    calmMs,
    cpu,
    memory,
    numbers,
  }: {
    readonly calmMs: number;
    readonly cpu: CpuNeed;
    readonly memory: MemoryPlan;
    readonly numbers: Numbers;
  },
): Act[] {
  if (calmMs < CALM_MS) return [];
  const why = `there has been room for ${Math.round(calmMs / 1000)} s: ${memory.why}; ${cpu.why}`;
  const act = (victim: Victim | undefined, measure: Act['measure']): Act[] =>
    victim ? [{ job: victim.job, measure, why, numbers }] : [];
  const order = inOrder(borrowers).reverse();
  const still = order.find(({ standing }) => standing === 'pressed');
  if (still) return act(still, { do: 'thaw' });
  const awake = order.filter(({ standing }) => standing === 'awake');
  const taken = awake.find(({ balloonBytes }) => balloonBytes > 0);
  if (taken && taken.balloonBytes <= memory.spareBytes) return act(taken, { do: 'deflate' });
  return awake
    .filter(({ weight }) => weight === 'least')
    .flatMap((victim) => act(victim, { do: 'low-weight' }));
}
