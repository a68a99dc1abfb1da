import { constants } from 'node:os';

import { formatBytes } from '../../model/units.ts';
import { type Growing, limitBytes, type MemoryStep, markBytes } from '../../pressure/growth.ts';
import type { Job } from '../job.ts';
import { GROW_TIMEOUT_MS, grow, refreshSizes, shrink, useCpus } from '../machine-size.ts';
import { abandonRaise, prepareRaise, raiseRequest } from '../moving/raise-request.ts';
import type { Node } from '../node.ts';
import { migrate } from '../verbs/migrate.ts';

/** Throws NodeUnfit when it cannot be; the job goes on as it was. */
export async function growJob(
  { context }: Node,
  job: Job,
  growing: Growing,
  to: { memoryBytes: number | undefined; cpus: number | undefined },
): Promise<void> {
  const begun = performance.now();
  const signal = AbortSignal.any([job.phaseSignal, AbortSignal.timeout(GROW_TIMEOUT_MS)]);
  await job.exclusive(async () => {
    await refreshSizes(context, job);
    await grow(context, job, to, signal);
  });
  job.log.info(`grown from ${words(growing.has)} to ${words(sizeOf(job, growing))}`, {
    ...figures(growing),
    ms: Math.round(performance.now() - begun),
  });
}

export async function shrinkJob(
  { context }: Node,
  job: Job,
  growing: Growing,
  toBytes: number,
): Promise<void> {
  const { wantedBytes, givenBytes } = await job.exclusive(() => shrink(context, job, toBytes));
  const rest = wantedBytes > givenBytes ? ', and keeps the rest for itself' : '';
  job.log.info(
    `shrunk from ${words(growing.has)} to ${words(sizeOf(job, growing))}; of ${formatBytes(wantedBytes)} its machine has given back ${formatBytes(givenBytes)}${rest}`,
    { ...figures(growing), peak_bytes: growing.series.peakHeldBytes },
  );
}

export async function takeCpusBack(job: Job, growing: Growing, cpus: number): Promise<void> {
  await job.exclusive(() => useCpus(job, cpus));
  const why = growing.room.cpus < 0 ? 'others want their CPUs' : 'it does not use more';
  job.log.info(
    `shrunk from ${words(growing.has)} to ${words(sizeOf(job, growing))}: ${why}`,
    figures(growing),
  );
}

/**
 * Stands still at once, so that it does not die on its way; then it goes back to the queue by its scheduler's own means, and is saved. What is asked for in its name is noted before
 * anything is done: whoever goes on with this after a crash asks for the same. Throws when it stays.
 */
export async function sendForMore(
  node: Node,
  job: Job,
  growing: Growing,
  { askBytes, why }: MemoryStep & { do: 'requeue' },
): Promise<void> {
  const before = job.facts.growth;
  const { domain } = job.resources;
  if (!domain || job.state.phase !== 'running') return;
  job.log.warn(
    `back to the queue, to ask for ${formatBytes(askBytes)} in place of ${formatBytes(growing.has.memoryBytes)}: ${why}`,
    figures(growing),
  );
  job.facts.growth = {
    ...before,
    askedBytes: growing.asked.memoryBytes,
    raisedBytes: askBytes,
    requeues: (before?.requeues ?? 0) + 1,
  };
  const { hypervisor } = node.context;
  await job.dispatch({ type: 'suspend' });
  try {
    await hypervisor.setFacts(domain, job.facts);
    await prepareRaise(node, job, askBytes);
    await migrate(node, job);
    // Beside its save, which may take longer than its scheduler waits before the next start.
    job.raising = raiseRequest(node, job);
  } catch (error) {
    if (before) job.facts.growth = before;
    else delete job.facts.growth;
    await abandonRaise(node, job);
    await job.dispatch({ type: 'resume' });
    await hypervisor.setFacts(domain, job.facts);
    throw error;
  }
}

/** Nothing more can be given: the job may be told. */
export function leaveToWall(job: Job, growing: Growing, step: MemoryStep & { do: 'signal' | 'leave' }): void {
  const { signal } = growing.policy;
  const wall = formatBytes(growing.has.memoryBytes);
  const what = step.do === 'signal' ? `it gets ${signal}` : 'it is left to its wall';
  job.log.warn(`near its wall of ${wall}: ${step.why}; ${what}`, figures(growing));
  if (step.do !== 'signal') return;
  // Before the signal, which may be its end.
  job.resources.guest?.note(
    `caddis: this job holds ${formatBytes(growing.series.heldBytes ?? 0)} of the ${wall} of memory that it may have: it gets ${signal}`,
  );
  job.resources.guest?.signal(constants.signals[signal]);
}

function sizeOf({ sizes }: Job, { has }: Growing) {
  return { memoryBytes: sizes.memoryBytes ?? has.memoryBytes, cpus: sizes.cpus ?? has.cpus };
}

function words({ memoryBytes, cpus }: Growing['has']): string {
  return `${formatBytes(memoryBytes)}, ${cpus} CPUs`;
}

/** The numbers that led to it. */
function figures({ series, room, policy, asked, most, has }: Growing): Record<string, number> {
  return {
    held_bytes: series.heldBytes ?? 0,
    held_bytes_per_s: Math.round(series.bytesPerMs * 1000),
    wall_bytes: has.memoryBytes,
    mark_bytes: markBytes(policy, has.memoryBytes),
    asked_bytes: asked.memoryBytes,
    limit_bytes: Math.round(limitBytes({ policy, asked, most })),
    room_bytes: Math.round(room.memoryBytes),
    room_cpus: Math.round(room.cpus * 100) / 100,
  };
}
