import type { JobKey } from '../../model/job.ts';
import type { EndedJob } from '../../model/usage.ts';
import type { RunCommand } from '../run-program.ts';
import { SchedulerUnavailable } from '../scheduler.ts';
import { SlurmRefused } from './commands.ts';

const MiB = 1024 * 1024;
/** sacctmgr (22.05) writes comments in small letters and with other quotes: a site's text that would suffer is left alone. */
const SUFFERS = /[A-Z"'`]/;
/** A job that its own database thinks is not over: its end is on its way from slurmctld. */
const NOT_OVER = /^(PENDING|RUNNING|SUSPENDED|REQUEUED|RESIZING|COMPLETING|CONFIGURING)/;
/** Our word in an AdminComment: no blanks in it. */
const OURS = /(?:^|\s+)caddis:\S*/g;

/**
 * Writes what a job used into its AdminComment in Slurm's database, beside what a site keeps there. slurmctld takes none for a job that is over, and is not asked at all: both
 * calls go to slurmdbd. Throws SchedulerUnavailable while that does not know the end yet, SlurmRefused where there is no database.
 */
export async function reportUsage(
  ended: EndedJob,
  { jobId }: JobKey,
  run: RunCommand,
  signal: AbortSignal,
): Promise<void> {
  const fields = 'JobIDRaw,JobID,State,AdminComment';
  const text = await run(['sacct', '-n', '-X', '-P', '-a', '-j', jobId, '-o', fields], signal);
  const found = parseAccount(text, jobId);
  if (!found || NOT_OVER.test(found.state))
    throw new SchedulerUnavailable(`slurmdbd does not know yet that job ${jobId} has ended`);
  const comment = mergeComment(found.comment, usageWord(ended));
  if (comment === found.comment) return;
  if (SUFFERS.test(found.comment))
    throw new SlurmRefused(
      `job ${jobId} has an AdminComment with capitals or quotes, which sacctmgr would change: it stays as it is`,
    );
  // Asked by the raw id, an array's last task would mean the whole array.
  await run(
    ['sacctmgr', '-i', 'modify', 'job', 'where', `jobid=${found.name}`, 'set', `AdminComment=${comment}`],
    signal,
  );
}

/** One job of `sacct -P`; the comment is last, since it may hold anything. */
export function parseAccount(
  text: string,
  jobId: string,
): { readonly name: string; readonly state: string; readonly comment: string } | undefined {
  for (const line of text.split('\n')) {
    const match = /^(\d+)\|([\w+.]+)\|([^|]*)\|(.*)$/.exec(line);
    if (match?.[1] === jobId)
      return { name: match[2] as string, state: match[3] as string, comment: match[4] as string };
  }
  return undefined;
}

/** The site's text stays, our word of before goes. */
export function mergeComment(comment: string, ours: string): string {
  const rest = comment.replace(OURS, '').trim();
  return rest === '' ? ours : `${rest} ${ours}`;
}

/** `caddis:cpu=5.12,mem_peak=128m,...`: seconds, MiB, percent; small letters, as sacctmgr writes them anyway. */
export function usageWord(ended: EndedJob): string {
  const fields: [string, string][] = [
    ['cpu', ended.cpu_seconds.toFixed(2)],
    ['host_cpu', ended.host_cpu_seconds.toFixed(2)],
    ['wall', String(Math.round(ended.wall_seconds))],
    ['cpus', String(ended.cpus)],
    ['cpu_eff', `${Math.round(100 * ended.cpu_efficiency)}%`],
    ['mem_peak', mib(ended.memory_held_peak_bytes)],
    ['mem_max', mib(ended.memory_peak_bytes)],
    ['mem_limit', mib(ended.memory_limit_bytes)],
    ['oom', String(ended.oom_kills)],
  ];
  return `caddis:${fields.map(([name, value]) => `${name}=${value}`).join(',')}`;
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / MiB)}m`;
}
