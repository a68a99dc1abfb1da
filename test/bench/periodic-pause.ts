import { join } from 'node:path';

import type { Lab, LabHost } from '../lab/host.ts';
import { repository } from '../lab/layout.ts';
import { on } from '../lab/process.ts';
import type { Figures } from './bench.ts';
import { linesOf, logLength } from './daemon-log.ts';
import type { LiveJob } from './live-job.ts';
import { median, medianParts, rounded, spread } from './statistics.ts';

const AIM_MS = 40;

/** For how long a running job stands still for `caddis checkpoint`, from the freeze inside its guest to the moment when it goes on, and for what. */
export async function pausesOf(lab: Lab, node: LabHost, job: LiveJob, runs: number): Promise<Figures> {
  const pauses: number[] = [];
  const parts: Readonly<Record<string, number>>[] = [];
  for (let run = 0; run < runs; run++) {
    const from = await logLength(lab, node);
    const command = [process.execPath, join(repository, 'dist/caddis.cjs'), 'checkpoint', job.id];
    await on(node, command, { timeoutMs: 300_000 });
    const staged = (await linesOf(lab, node, job.key, from)).find(({ text }) =>
      text.startsWith('checkpoint staged'),
    );
    if (!staged) throw new Error(`${job.key}: caddisd's log on ${node.name} says nothing of its checkpoint`);
    parts.push(staged.fields);
    pauses.push(Object.values(staged.fields).reduce((sum, ms) => sum + ms, 0));
  }
  // `stage`: all of the memory, where it could not be written while the job ran.
  const machine = parts.map(
    ({ suspend = 0, scratch = 0, rest_of_memory = 0, stage = 0, resume = 0 }) =>
      suspend + scratch + rest_of_memory + stage + resume,
  );
  return {
    job_stands_still: spread(pauses, 'ms'),
    machine_stands_still_median_ms: rounded(median(machine)),
    pause_parts_ms: medianParts(parts),
    aim_ms: AIM_MS,
    met: median(pauses) <= AIM_MS,
  };
}
