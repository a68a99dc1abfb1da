import { readdir } from 'node:fs/promises';

import { submit, type Where } from '../integration/support/batch.ts';
import type { Lab } from '../lab/host.ts';
import { until } from '../lab/process.ts';
import { type Bench, type BenchOptions, type Figures, onLab } from './bench.ts';
import { increase, settledCounts } from './sdiag.ts';
import { rounded } from './statistics.ts';

/** Questions to the controller that a job start may add (issue 2). */
const AIM_PER_JOB_START = 1;
/** Emulated machines on two cores: about 4 s of CPU each, and whatever else runs. */
const DEADLINE_PER_TASK_MS = 20_000;

/**
 * RPCs that slurmctld serves for an array, natively and in VMs. The tasks mark their end by a file, so that waiting costs no RPC; others who use the cluster meanwhile count in, so let it be idle.
 */
export const rpc: Bench = async ({ tasks = 200, say }: BenchOptions) =>
  onLab(say, async (lab) => {
    const native = await arrayOf(lab, 'native', tasks, say);
    const vm = await arrayOf(lab, 'vm', tasks, say);
    const added = (vm.total - native.total) / tasks;
    return {
      tasks,
      native_rpcs: native.total,
      vm_rpcs: vm.total,
      native_rpcs_per_job_start: rounded(native.total / tasks),
      vm_rpcs_per_job_start: rounded(vm.total / tasks),
      added_rpcs_per_job_start: rounded(added),
      aim_added_rpcs_per_job_start: AIM_PER_JOB_START,
      met: added <= AIM_PER_JOB_START,
      native_by_type: native.byType,
      vm_by_type: vm.byType,
    } satisfies Figures;
  });

async function arrayOf(
  lab: Lab,
  where: Where,
  tasks: number,
  say: BenchOptions['say'],
): Promise<{ total: number; byType: Record<string, number> }> {
  const before = await settledCounts(lab);
  const { directory } = await submit(lab, 'slurm', where, {
    script: '#!/bin/sh\n: > done.$SLURM_ARRAY_TASK_ID\n',
    options: [`--array=1-${tasks}`, '--mem=100M'],
  });
  let said = 0;
  await until(
    `${tasks} tasks (${where})`,
    async () => {
      const done = (await readdir(directory)).filter((name) => name.startsWith('done.')).length;
      if (done >= said + tasks / 10 || done === tasks) {
        say(`${where}: ${done} of ${tasks} tasks`);
        said = done;
      }
      return done === tasks;
    },
    { timeoutMs: 60_000 + tasks * DEADLINE_PER_TASK_MS, everyMs: 500 },
  );
  const byType = increase(before, await settledCounts(lab));
  return { total: Object.values(byType).reduce((a, b) => a + b, 0), byType };
}
