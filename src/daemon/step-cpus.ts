import { readFileSync } from 'node:fs';

import type { HookCall } from '../model/job.ts';

/**
 * Which vCPUs a step may use. The scheduler binds steps to host CPUs; a machine has as many vCPUs as the job has CPUs. The job's host CPUs, sorted, are vCPU 0, 1, ...: a step
 * that is bound to some of them gets the same places. Empty: no bound, or one that says nothing about the machine.
 */
export function vcpusOf(
  call: HookCall,
  job: { hostCpus: readonly number[] | undefined; vcpus: number },
): number[] {
  if (
    call.cpus.length === 0 ||
    call.cpus.length >= job.vcpus ||
    ownCpus().every((cpu) => call.cpus.includes(cpu))
  )
    return [];
  const places = job.hostCpus;
  if (places === undefined || places.length !== job.vcpus) return call.cpus.map((_, i) => i);
  return call.cpus.map((cpu) => places.indexOf(cpu)).filter((place) => place >= 0);
}

/** Where caddisd itself may run: a step that may run on all of these was not bound by its scheduler, whatever the node as a whole is bound to. */
function ownCpus(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '';
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    if (first === undefined || last === undefined) return [];
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}
