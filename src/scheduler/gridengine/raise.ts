import { setTimeout as delay } from 'node:timers/promises';

import { CaddisError } from '../../model/errors.ts';
import type { JobRequest, MachineSize } from '../../model/job.ts';
import { MiB } from '../../model/units.ts';
import type { RunCommand } from '../run-program.ts';
import { MEMORY_COMPLEXES } from './complete.ts';
import { mayAlter } from './jsv-settings.ts';
import { parseQstatJob } from './qstat.ts';

const LOOK_EVERY_MS = 500;

/**
 * Why this job's request cannot be altered, if so, so that nobody puts it back into the queue for it. Tasks of an array have one request: `qalter -l LIST JOB.TASK` and `JOB -t TASK` get
 * "denied: the selected option works only on jobs and not on tasks", and for the whole array, while any of its tasks runs, "can't change consumable resource request" (8.1.9, seen).
 */
export async function obstacleToRaise(
  { key }: JobRequest,
  run: RunCommand,
  signal: AbortSignal,
): Promise<string | undefined> {
  const job = parseQstatJob(await run(['qstat', '-xml', '-j', key.jobId], signal), key.jobId);
  if (!job) return 'the qmaster does not know it';
  if (job.isArray) return 'it is a task of an array: Grid Engine has one request for all of its tasks';
  if (!mayAlter(await run(['qconf', '-sconf'], signal), 'l_hard'))
    return 'its cell has a JSV and no l_hard in jsv_allowed_mod ("qconf -mconf")';
  return undefined;
}

/** A system hold, which a job that runs does not feel: sge_qmaster would start it again within a second of its end. */
export async function holdNext({ key }: JobRequest, run: RunCommand, signal: AbortSignal): Promise<void> {
  await run(['qalter', '-h', 's', key.jobId], signal);
}

export async function releaseNext({ key }: JobRequest, run: RunCommand, signal: AbortSignal): Promise<void> {
  if (!parseQstatJob(await run(['qstat', '-xml', '-j', key.jobId], signal), key.jobId)) return;
  await run(['qalter', '-h', 'S', key.jobId], signal);
}

/** Asks for more memory in place of what the job asked for. The qmaster refuses while a task runs, since memory is a consumable: waits until `signal` aborts. */
export async function raiseMemory(
  { key, cpus }: JobRequest,
  bytes: number,
  run: RunCommand,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const job = parseQstatJob(await run(['qstat', '-xml', '-j', key.jobId], signal), key.jobId);
    if (!job) throw new CaddisError(`job ${key.jobId} does not go back to the queue: it is gone`);
    if (!job.activeTasks.has(key.task)) {
      const list = raisedList(job.hard, Math.ceil(bytes / (cpus ?? 1) / MiB));
      await run(['qalter', '-l', list, key.jobId], signal);
      return;
    }
    await delay(LOOK_EVERY_MS, undefined, { signal });
  }
}

/** `-l` takes the place of the whole list. `mib`: per slot. */
export function raisedList(
  hard: ReadonlyMap<string, { readonly text: string; readonly value: number }>,
  mib: number,
): string {
  const name = MEMORY_COMPLEXES.find((complex) => (hard.get(complex)?.value ?? 0) > 0) ?? 'vm_mem';
  const all = new Map([...hard].map(([complex, { text }]) => [complex, text]));
  all.set(name, `${mib}M`);
  return [...all].map(([complex, text]) => `${complex}=${text}`).join(',');
}

/** Notes the size of a grown machine in the context of its job (`qstat -j`). */
export async function noteSize(
  { key }: JobRequest,
  size: MachineSize | undefined,
  run: RunCommand,
  signal: AbortSignal,
): Promise<void> {
  // A job has one context for all of its tasks.
  const suffix = key.task === '1' ? '' : `_${key.task}`;
  const [memory, cpus] = [`caddis_memory${suffix}`, `caddis_cpus${suffix}`];
  const change = size
    ? ['-ac', `${memory}=${Math.ceil(size.memoryBytes / MiB)}M,${cpus}=${size.cpus}`]
    : ['-dc', `${memory},${cpus}`];
  await run(['qalter', ...change, key.jobId], signal);
}
