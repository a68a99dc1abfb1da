import { XMLParser } from 'fast-xml-parser';
import * as z from 'zod';

import { SchedulerUnavailable } from '../scheduler.ts';

/** What `qstat -xml -j ID` says of a job. */
export interface QstatJob {
  /** Hard `-l` requests: complex to what the user wrote, and its number (bytes, seconds, counts). */
  readonly hard: ReadonlyMap<string, { readonly text: string; readonly value: number }>;
  /** Tasks that are on some host now (running, suspended, in transfer), not those that wait. */
  readonly activeTasks: ReadonlySet<string>;
  /** Hard `-q` requests. */
  readonly queues: readonly string[];
  readonly isArray: boolean;
  /** As its user and admins set it (qsub -p), 0 to 2048; 1024 is ordinary. */
  readonly priority: number | undefined;
}

/** JAT_status bits (sge_jobL.h): 0x80 running, 0x40 transferring. Waiting tasks have neither. */
const ACTIVE_BITS = 0x80 | 0x40;

const parser = new XMLParser({
  parseTagValue: false,
  // A list of one looks like no list in XML; JB_ja_tasks uses ulong_sublist in 8.1.9 and element in others.
  isArray: (name) =>
    [
      'job_list',
      'element',
      'qstat_l_requests',
      'ulong_sublist',
      'ja_task',
      'destin_ident_list',
      'task_id_range',
    ].includes(name),
});

const request = z.object({
  CE_name: z.string(),
  CE_stringval: z.string().default(''),
  CE_doubleval: z.coerce.number().default(0),
});
const task = z.object({ JAT_task_number: z.string(), JAT_status: z.coerce.number().default(0) });
/** Empty elements come as '' from the parser. */
const orEmpty = <T extends z.ZodType>(schema: T) =>
  z.union([z.literal('').transform(() => undefined), schema]).optional();
const job = z.object({
  JB_job_number: z.string(),
  JB_priority: z.coerce.number().optional(),
  JB_hard_resource_list: orEmpty(
    z.object({ qstat_l_requests: z.array(request).default([]), element: z.array(request).default([]) }),
  ),
  JB_hard_queue_list: orEmpty(
    z.object({ destin_ident_list: z.array(z.object({ QR_name: z.string() })).default([]) }),
  ),
  JB_ja_structure: orEmpty(
    z.object({
      task_id_range: z.array(z.object({ RN_min: z.string(), RN_max: z.string() })).default([]),
    }),
  ),
  JB_ja_tasks: orEmpty(
    z.object({
      ulong_sublist: z.array(task).default([]),
      element: z.array(task).default([]),
      ja_task: z.array(task).default([]),
    }),
  ),
});
const answer = z.union([
  z.object({ unknown_jobs: z.unknown() }),
  z.object({ detailed_job_info: z.object({ djob_info: orEmpty(z.object({ element: z.array(job) })) }) }),
]);

/** Parses the answer for `jobId`; undefined: the qmaster does not know the job. Throws SchedulerUnavailable for anything else. */
export function parseQstatJob(xml: string, jobId: string): QstatJob | undefined {
  let parsed: z.infer<typeof answer>;
  try {
    parsed = answer.parse(parser.parse(xml));
  } catch (error) {
    throw new SchedulerUnavailable(
      `expected qstat -xml -j ${jobId} to describe a job, got "${xml.slice(0, 200)}"`,
      { cause: error },
    );
  }
  if ('unknown_jobs' in parsed) return undefined;
  const found = parsed.detailed_job_info.djob_info?.element.find(
    (element) => element.JB_job_number === jobId,
  );
  if (!found) return undefined;
  const hard = found.JB_hard_resource_list;
  const tasks = found.JB_ja_tasks;
  return {
    hard: new Map(
      [...(hard?.qstat_l_requests ?? []), ...(hard?.element ?? [])].map((r) => [
        r.CE_name,
        { text: r.CE_stringval, value: r.CE_doubleval },
      ]),
    ),
    queues: found.JB_hard_queue_list?.destin_ident_list.map(({ QR_name }) => QR_name) ?? [],
    priority: found.JB_priority,
    isArray: found.JB_ja_structure?.task_id_range.some(({ RN_min, RN_max }) => RN_min !== RN_max) ?? false,
    activeTasks: new Set(
      [...(tasks?.ulong_sublist ?? []), ...(tasks?.element ?? []), ...(tasks?.ja_task ?? [])]
        .filter(({ JAT_status }) => (JAT_status & ACTIVE_BITS) !== 0)
        .map(({ JAT_task_number }) => JAT_task_number),
    ),
  };
}

const listed = z.object({
  JB_job_number: z.string(),
  /** Queue instance, `all.q@n1`; empty for jobs that wait. */
  queue_name: z.string().default(''),
  /** Absent for jobs that are no arrays. */
  tasks: z.string().default('1'),
});
const list = z.object({
  job_info: z.object({ queue_info: orEmpty(z.object({ job_list: z.array(listed).default([]) })) }),
});

/** Tasks (`ID.TASK`) that `qstat -xml -s s` lists. Throws SchedulerUnavailable for anything else. */
export function parseQstatList(xml: string): ReadonlySet<string> {
  return new Set(parseQstatHosts(xml).keys());
}

/** The same, with the hosts (without domain) on which each is. `qstat -g t` lists all hosts of a parallel job. */
export function parseQstatHosts(xml: string): ReadonlyMap<string, ReadonlySet<string>> {
  const parsed = list.safeParse(parser.parse(xml));
  if (!parsed.success)
    throw new SchedulerUnavailable(`expected qstat -xml to list jobs, got "${xml.slice(0, 200)}"`);
  const hosts = new Map<string, Set<string>>();
  for (const { JB_job_number, tasks, queue_name } of parsed.data.job_info.queue_info?.job_list ?? []) {
    const task = `${JB_job_number}.${tasks}`;
    const host = /@([^.]+)/.exec(queue_name)?.[1];
    const known = hosts.get(task) ?? new Set();
    hosts.set(task, host === undefined ? known : known.add(host));
  }
  return hosts;
}
