import { CaddisError } from '../../model/errors.ts';
import type { JobKey } from '../../model/job.ts';
import type { Placement } from '../scheduler.ts';
import { type RunCommand, SlurmRefused } from './commands.ts';
import { askJob } from './complete.ts';
import { untilPending } from './until-pending.ts';

/** ReqNodeList, which slurmctld changes only while a job waits: of one that runs it is taken for a request to give nodes back. */
export function slurmPlacement(node: string, run: RunCommand): Placement {
  return {
    when: 'pending',
    async check(request, host, signal) {
      if (host === node) throw new CaddisError(`the job is on ${host} already`);
      const text = await run(['scontrol', '-o', 'show', 'node', host], signal).catch((error: unknown) => {
        if (!(error instanceof SlurmRefused)) throw error;
        throw new CaddisError(`Slurm knows no node "${host}": see "sinfo -N"`, { cause: error });
      });
      const field = (name: string) => new RegExp(`\\s${name}=(\\S*)`).exec(text)?.[1] ?? '';
      if (!field('Partitions').split(',').includes(request.queue))
        throw new CaddisError(`${host} is not in the job's partition ${request.queue}`);
      const state = field('State');
      if (/DOWN|DRAIN|FAIL|MAINT|POWER|NOT_RESPONDING|\*/.test(state))
        throw new CaddisError(`${host} takes no jobs now: it is ${state}`);
    },
    async current(key, signal) {
      return (await askJob(key, node, signal, run))?.requiredNodes ?? '';
    },
    bind: (key, host, _before, signal) => require(key, host, node, signal, run),
    restore: (key, before, signal) => require(key, before, node, signal, run),
  };
}

async function require(
  key: JobKey,
  nodes: string,
  node: string,
  signal: AbortSignal,
  run: RunCommand,
): Promise<void> {
  const { taskName } = await untilPending(key, node, signal, run);
  await run(['scontrol', 'update', `jobid=${taskName}`, `ReqNodeList=${nodes}`], signal);
}
