import type { RunCommand } from '../run-program.ts';

/** Job id of one task of an array, `12_3`: what slurmctld knows of, else what slurmdbd remembers. Undefined: neither does. Throws SchedulerUnavailable. */
export async function rawIdOf(
  task: string,
  run: RunCommand,
  signal: AbortSignal,
): Promise<string | undefined> {
  // Of a job that slurmctld has forgotten it says "Invalid job id specified".
  const live = await run(['squeue', '-h', '-a', '-j', task, '-o', '%A'], signal).catch(() => '');
  return idIn(live) ?? idIn(await run(['sacct', '-n', '-X', '-P', '-j', task, '-o', 'JobIDRaw'], signal));
}

/** A task that was requeued has a line for each of its runs. */
function idIn(text: string): string | undefined {
  return /^(\d+)\s*$/m.exec(text)?.[1];
}
