import type { JobRequest } from '../../model/job.ts';
import type { RunCommand } from '../run-program.ts';
import { parseQstatJob } from './qstat.ts';

/** Soft and hard run time; what comes first ends the job. */
const LIMITS = ['s_rt', 'h_rt'];

/** The time limit of a job that runs, in milliseconds: the least of its own request and its queue's; undefined: none. sge_execd keeps it to itself: no spool file has it. */
export async function askLimit(
  { key, queue }: JobRequest,
  host: string,
  run: RunCommand,
  signal: AbortSignal,
): Promise<number | undefined> {
  const job = parseQstatJob(await run(['qstat', '-xml', '-j', key.jobId], signal), key.jobId);
  const asked = LIMITS.flatMap((name) => job?.hard.get(name)?.value ?? []).filter((value) => value > 0);
  const all = [...asked, ...queueLimits(await run(['qconf', '-sq', queue], signal), host)];
  return all.length > 0 ? Math.min(...all) * 1000 : undefined;
}

/** Seconds of what `qconf -sq` says of a queue on one host; a value for a host group counts when it is the less. */
export function queueLimits(text: string, host: string): number[] {
  const lines = text.replace(/\\\n\s*/g, '').split('\n');
  return LIMITS.flatMap((name) => {
    const value = lines.find((line) => line.startsWith(`${name} `))?.slice(name.length) ?? '';
    const overrides = new Map(
      [...value.matchAll(/\[([^=\]]+)=([^\]]*)\]/g)].map(([, at, limit]) => [at as string, limit as string]),
    );
    const own = [...overrides].find(([at]) => at.split('.')[0] === host)?.[1];
    const groups = [...overrides].filter(([at]) => at.startsWith('@')).map(([, limit]) => limit);
    const texts = own === undefined ? [value.replace(/,?\s*\[.*/, ''), ...groups] : [own];
    return texts.flatMap((one) => seconds(one.trim()) ?? []);
  });
}

/** `90`, `0:1:30`; undefined for INFINITY and 0, which is none. */
export function seconds(text: string): number | undefined {
  if (!/^\d*(:\d*){0,2}$/.test(text)) return undefined;
  const sum = text.split(':').reduce((total, part) => total * 60 + Number(part), 0);
  return sum > 0 ? sum : undefined;
}
