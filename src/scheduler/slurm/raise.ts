import type { JobKey } from '../../model/job.ts';
import { MiB } from '../../model/units.ts';
import type { RunCommand } from '../run-program.ts';
import { untilPending } from './until-pending.ts';

/** MinMemoryNode in place of what was asked for, by node or by CPU; slurmctld takes it only while the task waits. */
export async function raiseMemory(
  key: JobKey,
  bytes: number,
  here: readonly string[],
  signal: AbortSignal,
  run: RunCommand,
): Promise<void> {
  const { taskName } = await untilPending(key, here, signal, run);
  const mib = Math.ceil(bytes / MiB);
  await run(['scontrol', 'update', `jobid=${taskName}`, `MinMemoryNode=${mib}`], signal);
}
