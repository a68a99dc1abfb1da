import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { giveBack, type Verdict } from '../../../src/pressure/give-back.ts';
import { ownersSituation } from '../../../src/pressure/give-back-situation.ts';
import { machineUsage } from '../../../src/pressure/machine.ts';
import type { MachineSample } from '../../../src/pressure/sample.ts';
import type { Victim } from '../../../src/pressure/victims.ts';

/** Samples of a node with an owner and a borrower, as test/integration/pressure/record.ts has written them down in a lab. */
export interface Series {
  readonly says: string;
  readonly node: { readonly cpus: number; readonly capacityBytes: number; readonly keptBytes: number };
  readonly jobs: readonly {
    readonly job: string;
    readonly isBorrower: boolean;
    readonly cpus: number;
    readonly memoryBytes: number;
  }[];
  readonly looks: readonly {
    readonly atMs: number;
    readonly availableBytes: number;
    /** In the order of `jobs`: resident MiB, CPU time in ms, tasks that want to run; null: it is not there. */
    readonly samples: readonly (
      | readonly [residentMib: number, cpuMs: number, runnable: number | null]
      | null
    )[];
  }[];
}

export function readSeries(name: string): Series {
  return JSON.parse(readFileSync(join(import.meta.dirname, 'series', `${name}.json`), 'utf8')) as Series;
}

const MiB = 1024 * 1024;

/** What the policy says at each look, as if nothing came of it: the borrower stays awake. */
export function replay(series: Series): { readonly atMs: number; readonly verdict: Verdict }[] {
  const histories = series.jobs.map((): MachineSample[] => []);
  let calmSinceMs: number | undefined;
  return series.looks.map((look) => {
    for (const [i, sample] of look.samples.entries()) {
      if (!sample) continue;
      const [mib, cpuMs, runnable] = sample;
      histories[i]?.push({
        ...{ atMs: look.atMs, residentBytes: mib * MiB, cpuMs },
        guest:
          runnable === null
            ? undefined
            : {
                ...{ atMs: look.atMs, availableBytes: 0, totalBytes: 0, oomKills: 0 },
                ...{ runnableTasks: runnable, stalls: undefined },
              },
      });
    }
    const jobs = series.jobs.map((job, i) => ({
      ...{ reservedBytes: job.memoryBytes, reservedCpus: job.cpus, isBorrower: job.isBorrower },
      isSteady: job.isBorrower ? look.samples[i] !== null : true,
      usage: look.samples[i]
        ? machineUsage(histories[i] ?? [], { giveBackMs: 10_000, cpus: job.cpus })
        : undefined,
    }));
    const { capacityBytes, keptBytes, cpus } = series.node;
    const memory = { availableBytes: look.availableBytes, keptBytes, capacityBytes, lendsUnreserved: true };
    const borrowers = jobs.flatMap(({ isBorrower, usage }, i): Victim[] =>
      isBorrower && usage
        ? [
            {
              ...{ job: series.jobs[i]?.job ?? '', standing: 'awake', standingMs: 0, weight: 'low' },
              ...{ cpus: usage.cpuDemand, residentBytes: usage.residentBytes, balloonBytes: 0 },
              ...{
                reclaimableBytes: 0,
                untouchedBytes: 0,
                isReclaiming: false,
                priority: undefined,
                unsavable: undefined,
              },
              growthBytesPerSecond: usage.growthNowBytesPerSecond,
            },
          ]
        : [],
    );
    const verdict = giveBack({
      ...{
        nowMs: look.atMs,
        borrowers,
        parked: [],
        storeTrouble: undefined,
        evictAfterMs: 30_000,
        calmSinceMs,
      },
      ...ownersSituation({ memory, cpus, idleCpus: 0, stalls: undefined, jobs }),
      bandwidth: { save: 80 * MiB },
    });
    calmSinceMs = verdict.calmSinceMs;
    return { atMs: look.atMs, verdict };
  });
}
