import { qemuProcess, residentBytes } from '../../vm/qemu-process.ts';
import type { Node } from '../node.ts';
import { stopwatch } from '../start-machine.ts';
import { demandAwake, isAwake, PAUSE_TIMEOUT_MS, STAGE_TIMEOUT_MS, standing } from './at-rest.ts';
import type { SavedSessions } from './moved-sessions.ts';
import { COPY_BYTES_PER_MS, prepareScratchCopy, type ScratchCopy } from './scratch-copy.ts';
import { demandShortPause } from './short-pause.ts';
import type { Running } from './stage.ts';
import type { Staged } from './staged.ts';

/** The same as stageLive where that does not succeed: all of the memory is written while the machine stands still. */
export async function stageStanding(
  node: Node,
  { job, domain, guest }: Running,
  staged: Staged,
  pauseMs: Record<string, number>,
): Promise<SavedSessions> {
  const { scratch } = job.resources;
  const qemu = await qemuProcess(job.machine);
  const memoryMs = (qemu ? await residentBytes(qemu.pid) : 0) / COPY_BYTES_PER_MS;
  const disk = scratch === undefined ? undefined : await prepareScratchCopy(scratch, staged.scratch);
  try {
    demandShortPause(node, memoryMs + (disk?.expectedMs ?? 0));
    return await stand(node, { job, domain, guest }, staged, disk, pauseMs);
  } finally {
    disk?.cancel();
  }
}

async function stand(
  { context: { hypervisor } }: Node,
  { job, domain, guest }: Running,
  staged: Staged,
  disk: ScratchCopy | undefined,
  pauseMs: Record<string, number>,
): Promise<SavedSessions> {
  demandAwake(job);
  const lap = stopwatch(pauseMs);
  await guest.pause('settle', { timeoutMs: PAUSE_TIMEOUT_MS });
  lap('settle');
  const relayed = guest.relays > 0 ? await standing(job, guest) : undefined;
  lap('relays');
  await hypervisor.suspend(domain);
  lap('suspend');
  try {
    const [sessions] = await Promise.all([relayed ?? standing(job, guest), writeAll()]);
    lap('stage');
    return sessions;
  } finally {
    // A suspension that came meanwhile holds.
    if (isAwake(job)) await hypervisor.resume(domain);
    lap('resume');
  }

  async function writeAll(): Promise<void> {
    const timeoutMs = STAGE_TIMEOUT_MS;
    // Both end before the machine goes on, even when one fails.
    const outcomes = await Promise.allSettled([
      hypervisor.saveMemory(domain, staged.memory, { timeoutMs, signal: AbortSignal.timeout(timeoutMs) }),
      disk?.make(),
    ]);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }
}
