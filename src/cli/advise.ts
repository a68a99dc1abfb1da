import type { CommandModule } from 'yargs';
import { formatBytes } from '../model/units.ts';
import type { AdvisedJob } from '../model/usage.ts';
import { askDaemon } from './hook.ts';
import { numberOption } from './number-option.ts';
import { table } from './table.ts';

interface AdviseArguments {
  readonly user: string | undefined;
  readonly last: number;
  readonly json: boolean;
}

export const adviseCommand: CommandModule<object, AdviseArguments> = {
  command: 'advise [user]',
  describe: 'what the last jobs that ended on this node really needed, and what to ask for',
  builder: (yargs) =>
    yargs
      .positional('user', { type: 'string', describe: 'whose jobs; only root sees those of others' })
      .option('last', numberOption('last', { byDefault: 20, least: 1, describe: 'at most so many jobs' }))
      .option('json', { type: 'boolean', default: false, describe: 'one JSON array, newest job first' }),
  handler: async ({ user, last, json }) => {
    const text = await askDaemon('advise', [user ?? '-', String(last)], {
      unreachable:
        process.getuid?.() === 0
          ? undefined
          : 'none of your jobs has ended on this node, or caddisd does not run here: ask on a node where your jobs ran',
    });
    const jobs = JSON.parse(text) as AdvisedJob[];
    if (json) console.log(text.trimEnd());
    else console.log(jobs.length > 0 ? render(jobs) : nothing(user));
  },
};

function nothing(user: string | undefined): string {
  return `no job${user === undefined ? '' : ` of ${user}`} has ended in a machine on this node yet: there is nothing to advise`;
}

function render(jobs: readonly AdvisedJob[]): string {
  return table(
    ['job', 'name', 'user', 'ran', 'cpus', 'cpu time', 'busy', 'memory', 'of', 'ask for'],
    jobs.map((job) => [
      job.job,
      job.job_name,
      job.user,
      duration(job.wall_seconds),
      String(job.cpus),
      duration(job.cpu_seconds),
      `${Math.round(100 * job.cpu_efficiency)} %`,
      `${formatBytes(job.memory_held_peak_bytes)}${job.oom_kills > 0 ? ' (wall)' : ''}`,
      formatBytes(job.memory_limit_bytes),
      job.ask,
    ]),
  );
}

/** `5.1 s`, `3:05`, `2:03:05`. */
function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  const two = (value: number) => String(value).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
