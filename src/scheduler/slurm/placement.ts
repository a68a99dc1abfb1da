import { CaddisError } from '../../model/errors.ts';
import type { JobKey } from '../../model/job.ts';
import type { RunCommand } from '../run-program.ts';
import type { Placement } from '../scheduler.ts';
import { SlurmRefused } from './commands.ts';
import { askJob } from './complete.ts';
import type { JobRecord } from './job-record.ts';
import type { Nodes } from './nodes.ts';
import { untilPending } from './until-pending.ts';

/** ReqNodeList, which slurmctld changes only while a job waits: of one that runs it is taken for a request to give nodes back. */
export function slurmPlacement(nodes: Nodes, run: RunCommand): Placement {
  return {
    when: 'pending',
    async check(request, host, signal) {
      if (host === nodes.own) throw new CaddisError(`the job is on ${host} already`);
      const to = nodeFor(host, await askJob(request.key, nodes.all, signal, run), nodes);
      const text = await run(['scontrol', '-o', 'show', 'node', to], signal).catch((error: unknown) => {
        if (!(error instanceof SlurmRefused)) throw error;
        throw new CaddisError(`Slurm knows no node "${to}": see "sinfo -N"`, { cause: error });
      });
      const field = (name: string) => new RegExp(`\\s${name}=(\\S*)`).exec(text)?.[1] ?? '';
      if (!field('Partitions').split(',').includes(request.queue))
        throw new CaddisError(`${to} is not in the job's partition ${request.queue}`);
      const state = field('State');
      if (/DOWN|DRAIN|FAIL|MAINT|POWER|NOT_RESPONDING|\*/.test(state))
        throw new CaddisError(`${to} takes no jobs now: it is ${state}`);
    },
    async current(key, signal) {
      return (await askJob(key, nodes.all, signal, run))?.requiredNodes ?? '';
    },
    bind: (key, host, _before, signal) =>
      require(key, (job) => nodeFor(host, job, nodes), nodes, signal, run),
    restore: (key, before, signal) => require(key, () => before, nodes, signal, run),
  };
}

/** A job that runs in slack goes on at the other host's shadow node. */
function nodeFor(host: string, job: JobRecord | undefined, nodes: Nodes): string {
  return (job?.slackBytes === undefined ? undefined : nodes.shadowOf(host)) ?? host;
}

async function require(
  key: JobKey,
  wanted: (job: JobRecord) => string,
  nodes: Nodes,
  signal: AbortSignal,
  run: RunCommand,
): Promise<void> {
  const record = await untilPending(key, nodes.all, signal, run);
  await run(['scontrol', 'update', `jobid=${record.taskName}`, `ReqNodeList=${wanted(record)}`], signal);
}
