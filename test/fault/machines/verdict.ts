import { type CountingJob, progressOf } from './counting-job.ts';
import type { WatchedHost } from './watched-host.ts';

/** What became of a job in one move. */
export interface Verdict {
  readonly wrong: string | undefined;
  readonly what: string;
  /** Its output can tell nothing any more. */
  readonly spoilt: boolean;
  readonly afresh: boolean;
}

/** Where each host's log was when the move began. */
export type LogMarks = ReadonlyMap<WatchedHost, number>;

/** The line that tells an admin why a job starts afresh. */
const REASON =
  /(warn|error) .*(could not be saved|passed over|refused|machine lost|no machine for|ending|starts afresh|does not know)/;

/** What became of a job by its own lines and the nodes' logs. `keeps`: it must have gone on. */
export async function judge(
  job: CountingJob,
  runsBefore: number,
  logs: LogMarks,
  keeps: boolean,
): Promise<Verdict> {
  const { runs, wrong } = await progressOf(job);
  if (wrong !== undefined)
    return { wrong: `beats: ${wrong}${excerpt(job, logs)}`, what: '', spoilt: true, afresh: false };
  if (runs.length <= runsBefore) return { wrong: undefined, what: 'went on', spoilt: false, afresh: false };
  const reason = reasonOf(job, logs);
  if (reason === undefined) {
    const told = `it started afresh and no log says why${excerpt(job, logs)}`;
    return { wrong: told, what: '', spoilt: true, afresh: true };
  }
  if (keeps) {
    const told = `its state was lost: ${reason}${excerpt(job, logs)}`;
    return { wrong: told, what: '', spoilt: false, afresh: true };
  }
  return { wrong: undefined, what: `started afresh: ${reason}`, spoilt: false, afresh: true };
}

/** The last lines of both nodes' logs about a job. */
export function excerpt(job: CountingJob, logs: LogMarks): string {
  return [...logs.keys()]
    .map((host) => `\n  -- ${host.host.name}:\n  ${linesOf(host, job, logs).slice(-30).join('\n  ')}`)
    .join('');
}

function reasonOf(job: CountingJob, logs: LogMarks): string | undefined {
  for (const host of logs.keys())
    for (const line of linesOf(host, job, logs)) if (REASON.test(line)) return line.replace(/^\S+ /, '');
  return undefined;
}

function linesOf(host: WatchedHost, { key }: CountingJob, logs: LogMarks): string[] {
  const own = new RegExp(`${key.replace('.', '\\.')}\\b`);
  return host
    .log(logs.get(host))
    .split('\n')
    .filter((line) => own.test(line));
}
