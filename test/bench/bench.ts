import type { Lab } from '../lab/host.ts';
import { current, down, up } from '../lab/lab.ts';

/** Figures by name; names carry the unit (`_ms`, `_mb_per_s`, `_mib`, `_ratio`). Groups nest. */
export interface Figures {
  readonly [name: string]: number | string | boolean | null | Figures;
}

export interface BenchOptions {
  /** Undefined: the bench's own default. */
  readonly runs: number | undefined;
  readonly tasks: number | undefined;
  readonly megabytes: number | undefined;
  readonly machines: number | undefined;
  /** MB of live data of each machine. */
  readonly sizes: readonly number[] | undefined;
  /** Of one turn of an owner's work. */
  readonly seconds: number | undefined;
  /** Progress, on stderr. */
  readonly say: (line: string) => void;
}

export type Bench = (options: BenchOptions) => Promise<Figures>;

/** Runs `measure` on the lab; one that is not up is brought up and taken down again. */
export async function onLab<T>(say: (line: string) => void, measure: (lab: Lab) => Promise<T>): Promise<T> {
  const running = await current();
  if (running) return await measure(running);
  const lab = await up({ log: say });
  try {
    return await measure(lab);
  } finally {
    await down(say);
  }
}
