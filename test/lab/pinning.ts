import { execa } from 'execa';

import { availableCpus, setCpus } from './cgroups.ts';
import { type HostName, headName, hostNames, nodeNames } from './layout.ts';

export type CpuPlan = Readonly<Record<HostName, string>>;

/**
 * Which CPUs each host gets, as cpuset lists. Pinned: each node a core of its own, n1 the last; the head (and the test
 * runner, see pinRunner) on the cores that are left, with two cores on n2's, so that n1 is the node to measure on.
 * With fewer cores than nodes there is nothing to pin.
 */
export function planCpus(available: readonly number[], pinned: boolean): CpuPlan {
  const all = available.join(',');
  if (!pinned || available.length < nodeNames.length)
    return Object.fromEntries(hostNames.map((name) => [name, all])) as CpuPlan;
  const n1 = String(available.at(-1));
  const n2 = String(available.at(-2));
  const left = available.slice(0, -2).join(',');
  return { head: left === '' ? n2 : left, n1, n2 };
}

/** The plan while the lab comes up: the head may use every core, or its daemons' starts would queue for one. */
export function planWhileStarting(plan: CpuPlan, available: readonly number[]): CpuPlan {
  return { ...plan, head: available.join(',') };
}

/** Puts the head where the plan has it, when its daemons have started. */
export async function pinHead(plan: CpuPlan): Promise<void> {
  await setCpus(headName, plan.head);
}

/** Puts this process (all its threads) on the head's cores, off the node that is measured. For tests and benches. */
export async function pinRunner(): Promise<void> {
  const plan = planCpus(await availableCpus(), true);
  await execa('taskset', ['-a', '-p', '-c', plan.head, String(process.pid)], { stdin: 'ignore' });
}
