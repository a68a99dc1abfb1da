import { formatBytes, MiB } from '../model/units.ts';
import type { Numbers, Situation } from './give-back.ts';
import { inOrder, type Victim } from './victims.ts';

/** Memory of the node in the newest look. */
export interface MemorySituation {
  /** What the node can still give to machines: what the host has available beyond what is kept, and no more than machines may have in all less what they hold. */
  readonly leftBytes: number;
  /** What machines may have in all. */
  readonly capacityBytes: number;
  /** What owners have reserved and not taken yet. */
  readonly idleBytes: number;
  /** By how much owners grow now; none grows beyond what it has reserved. */
  readonly growthBytesPerSecond: number;
}

export interface MemoryPlan {
  readonly rung: 'none' | 'reclaim' | 'freeze' | 'evict';
  /** Whom it takes, in order. */
  readonly victims: readonly Victim[];
  /** What was taken stays taken. */
  readonly isPressing: boolean;
  /** What balloons may have back. */
  readonly spareBytes: number;
  /** Less than this a balloon is not bothered for. */
  readonly worthReclaimingBytes: number;
  readonly why: string;
  readonly numbers: Numbers;
}

/** With less than this share left, what an owner takes next may be missing before anybody looks again. */
const LOW_SHARE = 0.05;
/** What an eviction takes beside its bytes: the scheduler is asked to requeue, and says so to the steps (measured in the lab: 0.3 to 1.5 s). */
const EVICTION_MS = 1_000;
/** Predictions are wrong by half, and a look comes once a second. */
const SAFETY = 1.5;
const LOOK_MS = 1_500;
/** A machine is frozen twice as early as it has to be saved: an owner that stops growing meanwhile costs it seconds, not a move. */
const FREEZE_EARLIER = 2;
/** Balloons are asked when there is four times the time that a save takes; what was done holds until then. */
const PRESSING = 4;
/** What is given back must last for so long at the present growth. */
const LASTS_MS = 30_000;
const WORTH_RECLAIMING_BYTES = 16 * MiB;

/** What has to be done so that owners find the memory that they grow into. */
export function memoryPlan(
  memory: MemorySituation,
  situation: Pick<Situation, 'borrowers' | 'parked' | 'bandwidth'>,
): MemoryPlan {
  const { borrowers, parked, bandwidth } = situation;
  const lowBytes = LOW_SHARE * memory.capacityBytes;
  const growth = memory.growthBytesPerSecond;
  const owedBytes = Math.max(memory.idleBytes - memory.leftBytes, 0);
  const untilShortMs = deadlineMs(memory, lowBytes, owedBytes, borrowers);
  const comingBytes =
    sum(borrowers, (one) => (one.standing === 'leaving' ? one.residentBytes : 0)) +
    sum(parked, ({ residentBytes }) => residentBytes);
  const { victims, takesMs } = enough(memory, lowBytes, comingBytes, borrowers, bandwidth.save);
  const saveByMs = takesMs * SAFETY + LOOK_MS;
  const parts = { spareBytes: spare(memory, lowBytes), worthReclaimingBytes: WORTH_RECLAIMING_BYTES };
  const numbers = {
    left_bytes: Math.round(memory.leftBytes),
    owners_idle_bytes: Math.round(memory.idleBytes),
    owners_growth_bytes_per_second: Math.round(growth),
    ...(Number.isFinite(untilShortMs) ? { until_short_ms: Math.round(untilShortMs) } : {}),
    predicted_give_back_ms: Math.round(takesMs),
    save_bytes_per_second: Math.round(bandwidth.save),
    coming_bytes: Math.round(comingBytes),
  };
  const isPressing =
    owedBytes > 0 && (untilShortMs <= PRESSING * saveByMs || memory.leftBytes <= 2 * lowBytes);
  const why = inWords(memory, owedBytes, untilShortMs, takesMs, victims.length);
  const plan = (rung: MemoryPlan['rung'], of: readonly Victim[]): MemoryPlan => ({
    ...parts,
    ...{ rung, victims: of, isPressing, why, numbers },
  });
  const candidates = inOrder(borrowers).filter(({ standing }) => standing === 'awake');
  if (untilShortMs > PRESSING * saveByMs || (victims.length === 0 && parked.length === 0)) {
    // Full, and nobody grows: only what costs nobody anything.
    if (owedBytes > 0 && memory.leftBytes <= lowBytes) return plan('reclaim', candidates);
    return plan('none', []);
  }
  if (untilShortMs <= saveByMs) return plan('evict', victims);
  if (untilShortMs <= FREEZE_EARLIER * saveByMs) return plan('freeze', victims);
  return plan('reclaim', candidates);
}

/** When owners find nothing left, if things go on as they do; infinite when there is enough for all that they reserved. */
function deadlineMs(
  { leftBytes, growthBytesPerSecond }: MemorySituation,
  lowBytes: number,
  owedBytes: number,
  borrowers: readonly Victim[],
): number {
  if (owedBytes === 0 || growthBytesPerSecond <= 0) return Number.POSITIVE_INFINITY;
  const others = sum(borrowers, (one) => (one.standing === 'awake' ? one.growthBytesPerSecond : 0));
  return (1000 * Math.max(leftBytes - lowBytes, 0)) / (growthBytesPerSecond + others);
}

/** The fewest that make room for what owners will have taken when they are gone and for a while after; and how long that takes, one after the other. */
function enough(
  memory: MemorySituation,
  lowBytes: number,
  comingBytes: number,
  borrowers: readonly Victim[],
  bytesPerSecond: number,
): { victims: Victim[]; takesMs: number } {
  const victims: Victim[] = [];
  let freedBytes = comingBytes;
  let savedBytes = comingBytes;
  const takesMs = () => (savedBytes > 0 ? EVICTION_MS : 0) + (1000 * savedBytes) / bytesPerSecond;
  const wanted = () =>
    Math.min(memory.idleBytes, (memory.growthBytesPerSecond * (takesMs() + LASTS_MS)) / 1000) + lowBytes;
  for (const victim of inOrder(borrowers)) {
    if (memory.leftBytes + freedBytes >= wanted()) break;
    if (victim.standing !== 'awake' && victim.standing !== 'pressed') continue;
    victims.push(victim);
    freedBytes += victim.residentBytes;
    savedBytes += victim.residentBytes;
  }
  return { victims, takesMs: takesMs() };
}

function spare({ leftBytes, growthBytesPerSecond }: MemorySituation, lowBytes: number): number {
  return Math.max(leftBytes - 2 * lowBytes - (growthBytesPerSecond * LASTS_MS) / 1000, 0);
}

function inWords(
  { leftBytes, growthBytesPerSecond }: MemorySituation,
  owedBytes: number,
  untilShortMs: number,
  takesMs: number,
  victims: number,
): string {
  if (owedBytes === 0) return 'there is enough memory for all that owners reserved';
  const left = `${formatBytes(Math.max(Math.round(leftBytes), 0))} left`;
  if (!Number.isFinite(untilShortMs)) return `owners do not grow, with ${left}`;
  const takes = victims > 0 ? `; giving back takes ${seconds(takesMs)}` : '';
  return `owners grow by ${formatBytes(Math.round(growthBytesPerSecond))}/s, with ${left} for ${seconds(untilShortMs)}${takes}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
