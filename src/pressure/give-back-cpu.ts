import type { Numbers } from './give-back.ts';
import type { Victim } from './victims.ts';

/** CPUs of the node, in the newest look. */
export interface CpuSituation {
  /** That the scheduler may give to jobs. */
  readonly cpus: number;
  /** What owners use, or would: their tasks that want to run. */
  readonly wantedCpus: number;
}

export interface CpuNeed {
  /** `some`: owners and borrowers want more than there is. `all`: owners leave nothing to lend. */
  readonly is: 'none' | 'some' | 'all';
  readonly harmsFromCpus: number;
  /** What stands still could go on without being in an owner's way. */
  readonly hasRoom: boolean;
  readonly why: string;
  readonly numbers: Numbers;
}

/** Owners that leave less than this of a CPU leave nothing; and only when they leave a whole one does a borrower go on. */
const LEFT_NOTHING_CPUS = 0.5;
const LEFT_ROOM_CPUS = 1;
/** QEMU's own housekeeping is below. */
const HARMS_FROM_CPUS = 0.05;

/** A CPU is back at once, so nothing is predicted: what owners want now counts. */
export function cpuNeed({ cpus, wantedCpus }: CpuSituation, borrowers: readonly Victim[]): CpuNeed {
  const usedCpus = borrowers.reduce(
    (sum, victim) => sum + (victim.standing === 'awake' ? victim.cpus : 0),
    0,
  );
  const left = cpus - wantedCpus;
  const is =
    left < LEFT_NOTHING_CPUS ? 'all' : usedCpus > left && usedCpus >= HARMS_FROM_CPUS ? 'some' : 'none';
  const of = `${wantedCpus.toFixed(1)} of the node's ${cpus} CPUs`;
  return {
    is,
    harmsFromCpus: HARMS_FROM_CPUS,
    hasRoom: left >= LEFT_ROOM_CPUS,
    why:
      is === 'all'
        ? `owners want ${of}`
        : is === 'some'
          ? `owners want ${of}, and borrowers use ${usedCpus.toFixed(1)}`
          : `owners want no more than ${of}`,
    numbers: {
      node_cpus: cpus,
      owners_want_cpus: rounded(wantedCpus),
      borrowers_use_cpus: rounded(usedCpus),
    },
  };
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
