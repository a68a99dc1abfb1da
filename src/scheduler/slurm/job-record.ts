import { MiB } from '../../model/units.ts';
import { countListed, expandHostlist } from './hostlist.ts';

/** What `scontrol -d -o show job` says of one job and node, as far as we need it; undefined = not said. */
export interface JobRecord {
  readonly jobId: string;
  /** Name for commands that must mean this very task: `ARRAY_TASK`, or the id of a job that is no array. */
  readonly taskName: string;
  readonly state: string;
  readonly reason: string;
  readonly restarts: number;
  readonly requeueable: boolean;
  readonly jobName: string;
  readonly nodes: readonly string[];
  readonly memoryBytes: number | undefined;
  readonly cpus: number | undefined;
  readonly scratchBytes: number | undefined;
}

/**
 * Finds the job with this raw id: asked for the id of an array, scontrol prints every task of it. Undefined if it is not there.
 * Name, comment, command and directories are the user's own text and may look like any field: what names another job is read only where slurmctld puts it, and a
 * field that stands there twice counts as not said, so that nobody can speak for a job that is not theirs.
 */
export function parseJobRecord(text: string, jobId: string, node: string): JobRecord | undefined {
  const lines = text.split('\n').filter((one) => new RegExp(`^JobId=${jobId}(\\s|$)`).test(one));
  const [line] = lines;
  if (line === undefined || lines.length > 1) return undefined;
  const field = (name: string) => onlyOne(line, new RegExp(`\\s${name}=(\\S*)`, 'g'));
  const array = /^JobId=\d+ ArrayJobId=(\d+) ArrayTaskId=(\d+) /.exec(line);
  return {
    jobId,
    taskName: array ? `${array[1]}_${array[2]}` : jobId,
    state: field('JobState') ?? 'UNKNOWN',
    reason: field('Reason') ?? '',
    restarts: Number(field('Restarts') ?? 0),
    requeueable: field('Requeue') === '1' && field('BatchFlag') === '1',
    // The name may hold blanks: it ends where the next field begins.
    jobName: onlyOne(line, /\sJobName=(.*?) UserId=/g) ?? '',
    nodes: expandHostlist(field('NodeList') ?? '') ?? [],
    ...nodeShare(onlyOne(line, /\sJOB_GRES=(.*?) MinCPUsNode=/g) ?? '', node),
    scratchBytes: positive(scaled(field('MinTmpDiskNode'))),
  };
}

function onlyOne(line: string, pattern: RegExp): string | undefined {
  const matches = [...line.matchAll(pattern)];
  return matches.length === 1 ? matches[0]?.[1] : undefined;
}

/** `Nodes=n[1-2] CPU_IDs=0-1 Mem=1000 GRES=`, once for each group of like nodes; Mem in MB for each node. */
function nodeShare(text: string, node: string): Pick<JobRecord, 'memoryBytes' | 'cpus'> {
  for (const [, nodes = '', cpuIds = '', memoryMb = ''] of text.matchAll(
    /\sNodes=(\S+) CPU_IDs=(\S*) Mem=(\d+)/g,
  ))
    if (expandHostlist(nodes)?.includes(node))
      return { memoryBytes: positive(Number(memoryMb) * MiB), cpus: positive(countListed(cpuIds)) };
  return { memoryBytes: undefined, cpus: undefined };
}

/** `100M`, `1.50G`, `0`: Slurm's scaled numbers, base unit MB. */
function scaled(text: string | undefined): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([KMGTP]?)$/.exec(text ?? '');
  if (!match) return undefined;
  const power = 'KMGTP'.indexOf(match[2] || 'M');
  return Math.round(Number(match[1]) * 1024 ** (power + 1));
}

function positive(value: number | undefined): number | undefined {
  return value !== undefined && value > 0 ? value : undefined;
}
