import { expandHostlist } from './hostlist.ts';

/** What `scontrol -o show job` says of one job and node, as far as we need it; undefined = not said. */
export interface JobRecord {
  readonly jobId: string;
  /** Name for commands that must mean this very task: `ARRAY_TASK`, or the id of a job that is no array. */
  readonly taskName: string;
  readonly state: string;
  readonly reason: string;
  readonly restarts: number;
  readonly requeueable: boolean;
  readonly priority: number | undefined;
  /** Of this run, in milliseconds; undefined: none. What it was suspended does not count as run. */
  readonly limitMs: number | undefined;
  readonly ranMs: number | undefined;
  /** It is being preempted, and has a grace time (PreemptMode, GraceTime) until it is put back. */
  readonly preempted: boolean;
  /** One component of several that run together. */
  readonly heterogeneous: boolean;
  readonly jobName: string;
  readonly nodes: readonly string[];
  /** Where it must run, as its user or an admin said; empty: anywhere. */
  readonly requiredNodes: string;
  readonly memoryBytes: number | undefined;
  /** How the memory was asked for: `--mem=256M`. */
  readonly memorySource: string | undefined;
  readonly cpus: number | undefined;
  readonly scratchBytes: number | undefined;
  /** What it was lent on each node: MiB of our GRES, which job_submit.lua asks for in the place of memory. */
  readonly slackBytes: number | undefined;
  /** Empty: there is none. Undefined: it cannot be told from somebody else's words that look like it. */
  readonly adminComment: string | undefined;
  /** Who, where, and with which GPUs: as its prolog is told. Undefined when it cannot be read for certain. */
  readonly start:
    | {
        readonly user: string;
        readonly uid: number;
        readonly gid: number;
        readonly partition: string;
        readonly workDir: string;
        readonly hosts: number;
        readonly gpus: string | undefined;
      }
    | undefined;
}

/**
 * Finds the job with this raw id (`here`: the names of this host as a node): asked for the id of an array, scontrol prints every task of it. Undefined if it is not there.
 * Name, comment, command and directories are the user's own text and may look like any field: what names another job is read only where slurmctld puts it, and a
 * field that stands there twice counts as not said, so that nobody can speak for a job that is not theirs.
 */
export function parseJobRecord(text: string, jobId: string, here: readonly string[]): JobRecord | undefined {
  const lines = text.split('\n').filter((one) => new RegExp(`^JobId=${jobId}(\\s|$)`).test(one));
  const [line] = lines;
  if (line === undefined || lines.length > 1) return undefined;
  const field = (name: string) =>
    isSpokenFor(line, name) ? undefined : onlyOne(line, new RegExp(`\\s${name}=(\\S*)`, 'g'));
  const array = /^JobId=\d+ ArrayJobId=(\d+) ArrayTaskId=(\d+) /.exec(line);
  return {
    jobId,
    taskName: array ? `${array[1]}_${array[2]}` : jobId,
    state: field('JobState') ?? 'UNKNOWN',
    reason: field('Reason') ?? '',
    restarts: Number(field('Restarts') ?? 0),
    requeueable: field('Requeue') === '1' && field('BatchFlag') === '1',
    priority: positive(Number(field('Priority') ?? 0)),
    limitMs: duration(field('TimeLimit')),
    ranMs: duration(field('RunTime')),
    preempted: !['None', undefined].includes(field('PreemptTime')),
    heterogeneous: /^JobId=\d+ HetJobId=\d+ /.test(line),
    // The name may hold blanks: it ends where the next field begins.
    jobName: onlyOne(line, /\sJobName=(.*?) UserId=/g) ?? '',
    nodes: expandHostlist(field('NodeList') ?? '') ?? [],
    requiredNodes: (field('ReqNodeList') ?? '').replace('(null)', ''),
    ...nodeShare(field, here),
    memorySource: memorySource(field),
    scratchBytes: positive(scaled(field('MinTmpDiskNode'))),
    slackBytes: slackOf(field('TresPerNode')),
    adminComment: line.includes(' AdminComment=') ? adminCommentOf(line) : '',
    start: startOf(line, field),
  };
}

function startOf(line: string, field: (name: string) => string | undefined): JobRecord['start'] {
  const [, user, uid] = /^(.+)\((\d+)\)$/.exec(field('UserId') ?? '') ?? [];
  const gid = /\((\d+)\)$/.exec(field('GroupId') ?? '')?.[1];
  const partition = field('Partition');
  // It may hold blanks, as the name may.
  const workDir = onlyOne(line, /\sWorkDir=(.*?) StdErr=/g);
  const isClear = field('Restarts') !== undefined && workDir !== undefined;
  if (!user || !uid || !gid || !partition || !isClear) return undefined;
  const gpus = /(?:^|,)(gres\/gpu[^,]*)/.exec(field('TRES') ?? '')?.[1];
  const hosts = Number(field('NumNodes')?.split('-')[0]) || 1;
  return { user, uid: Number(uid), gid: Number(gid), partition, workDir, hosts, gpus };
}

/** Of these slurmctld prints one or the other (TRES until 22.05): the second is somebody's text, and so may be the first. */
const ONE_OF = [
  ['MinMemoryNode', 'MinMemoryCPU'],
  ['TRES', 'ReqTRES'],
  ['TRES', 'AllocTRES'],
] as const;

function isSpokenFor(line: string, name: string): boolean {
  return ONE_OF.some(
    (pair) => pair.some((one) => one === name) && pair.every((one) => line.includes(` ${one}=`)),
  );
}

function onlyOne(line: string, pattern: RegExp): string | undefined {
  const matches = [...line.matchAll(pattern)];
  return matches.length === 1 ? matches[0]?.[1] : undefined;
}

/**
 * What the job has on this node. Of a job on one node that is all it has (`TRES=cpu=2,mem=400M,...`); of one on several what it asked for each node or CPU, where the
 * CPUs here are the prolog's to know. `scontrol -d` says it for each node, and asks slurmctld for every node of the cluster besides.
 */
function nodeShare(
  field: (name: string) => string | undefined,
  here: readonly string[],
): Pick<JobRecord, 'memoryBytes' | 'cpus'> {
  const nodes = expandHostlist(field('NodeList') ?? '') ?? [];
  if (!isOnOneOf(nodes, here)) return { memoryBytes: undefined, cpus: undefined };
  if (nodes.length > 1) return { memoryBytes: positive(scaled(field('MinMemoryNode'))), cpus: undefined };
  const memory = /(?:^|,)mem=([^,]+)/.exec(field('TRES') ?? '')?.[1];
  return { memoryBytes: positive(scaled(memory)), cpus: positive(Number(field('NumCPUs') ?? 0)) };
}

/** Whether one of these nodes is this host. */
export function isOnOneOf(nodes: readonly string[], here: readonly string[]): boolean {
  return here.some((name) => nodes.includes(name));
}

function adminCommentOf(line: string): string | undefined {
  const next = 'SystemComment|StdErr|StdIn|Power|Licenses';
  return onlyOne(line, new RegExp(`\\sAdminComment=(.*?)\\s+(?=(?:${next})=)`, 'g'))?.trim();
}

/** `gres:gpu:1,gres:slackmem:300`. */
function slackOf(tresPerNode: string | undefined): number | undefined {
  const mib = /(?:^|,)gres:slackmem:(\d{1,9})(?:,|$)/.exec(tresPerNode ?? '')?.[1];
  return positive(Number(mib ?? 0) * 1024 ** 2);
}

/** slurmctld keeps which of the two was asked for; a partition's default counts as asked. */
function memorySource(field: (name: string) => string | undefined): string | undefined {
  const [node, cpu] = [field('MinMemoryNode'), field('MinMemoryCPU')];
  if (node !== undefined && node !== '0') return `--mem=${node}`;
  return cpu === undefined ? undefined : `--mem-per-cpu=${cpu}`;
}

/** `100M`, `1.50G`, `0`: Slurm's scaled numbers, base unit MB. */
function scaled(text: string | undefined): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([KMGTP]?)$/.exec(text ?? '');
  if (!match) return undefined;
  const power = 'KMGTP'.indexOf(match[2] || 'M');
  return Math.round(Number(match[1]) * 1024 ** (power + 1));
}

/** `1-02:03:04` in milliseconds; undefined for UNLIMITED and what is not said. */
function duration(text: string | undefined): number | undefined {
  const match = /^(?:(\d+)-)?(\d+):(\d\d):(\d\d)$/.exec(text ?? '');
  if (!match) return undefined;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
  ];
  return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000;
}

function positive(value: number | undefined): number | undefined {
  return value !== undefined && value > 0 ? value : undefined;
}
