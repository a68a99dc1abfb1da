import type { JobTop, NodeTop, StallsTop, StepTop } from '../../model/top.ts';

/** Name to help and value; names that end in `_total` are counters. What has no value has no sample. */
export type MetricTable<T> = Readonly<
  Record<string, readonly [help: string, of: (from: T) => number | null | undefined]>
>;

export const OK_HELP = '1 while machines can be made on this node';

export const NODE_METRICS: MetricTable<NodeTop> = {
  caddis_ok: [OK_HELP, (top) => (top.health === 'ok' ? 1 : 0)],
  caddis_age_seconds: ['Age of these numbers', (top) => top.age_ms / 1000],
  caddis_jobs: ['Jobs on this node', (top) => top.jobs.length],
  caddis_slack_memory_bytes: ['Memory that could be lent now', (top) => top.slack.memory_bytes],
  caddis_slack_cpus: ['CPUs that could be lent now', (top) => top.slack.cpus],
  caddis_lent_memory_bytes: ['Memory given to jobs that run in slack', (top) => top.lent.memory_bytes],
  caddis_lent_cpus: ['CPUs given to jobs that run in slack', (top) => top.lent.cpus],
  caddis_pressure_ratio: ['Pressure of the node, 0 to 1', (top) => top.pressure.overall],
  caddis_memory_pressure_ratio: ['Memory pressure of the node', (top) => top.pressure.memory],
  caddis_cpu_pressure_ratio: ['CPU pressure of the node', (top) => top.pressure.cpu],
  caddis_io_pressure_ratio: ['I/O pressure of the node', (top) => top.pressure.io],
  caddis_node_memory_bytes: ['MemTotal', (top) => top.node?.memory_bytes],
  caddis_node_memory_available_bytes: ['MemAvailable', (top) => top.node?.memory_available_bytes],
  caddis_node_idle_cpus: ['Idle CPUs of the host', (top) => top.node?.idle_cpus],
  ...stalls<NodeTop>('caddis_node', (top) => top.node?.stalls),
  caddis_daemon_cpu_seconds_total: ['CPU time of caddisd', (top) => top.cost.daemon_cpu_seconds],
  caddis_daemon_resident_bytes: ['Memory of caddisd', (top) => top.cost.daemon_resident_bytes],
  caddis_samples_total: ['Looks at the node and its machines', (top) => top.cost.samples],
  caddis_sampling_seconds_total: ['Time spent on them', (top) => top.cost.sampling_seconds],
};

export const JOB_METRICS: MetricTable<JobTop> = {
  caddis_job_cpus: ['CPUs that the job has', (job) => job.cpus],
  caddis_job_cpus_used: ['CPUs of the host in use', (job) => job.cpus_used],
  caddis_job_cpu_seconds_total: ["CPU time of the job's processes, on all nodes", (job) => job.cpu_seconds],
  caddis_job_host_cpu_seconds_total: ['CPU time of its QEMU, on all nodes', (job) => job.host_cpu_seconds],
  caddis_job_memory_limit_bytes: ['Memory that the job may use', (job) => job.memory_limit_bytes],
  caddis_job_memory_asked_bytes: [
    'Memory that was asked for; the rest was grown',
    (job) => job.memory_asked_bytes,
  ],
  caddis_job_memory_used_bytes: ['Memory that the job uses', (job) => job.memory_used_bytes],
  caddis_job_memory_available_bytes: ['MemAvailable of its machine', (job) => job.memory_available_bytes],
  caddis_job_memory_held_peak_bytes: [
    'The most that its processes held (anon, shmem, kernel)',
    (job) => job.memory_held_peak_bytes,
  ],
  caddis_job_memory_peak_bytes: ['The most in use, page cache and all', (job) => job.memory_peak_bytes],
  caddis_job_memory_resident_bytes: [
    'Memory of the host that its machine holds',
    (job) => job.memory_resident_bytes,
  ],
  caddis_job_memory_pressure_ratio: ['Used over limit', (job) => job.memory_pressure],
  caddis_job_tasks_runnable: ['Tasks that run or want to', (job) => job.tasks_runnable],
  ...stalls<JobTop>('caddis_job', (job) => job.stalls),
  caddis_job_oom_kills: ['Processes that the job lost at its memory limit', (job) => job.oom_kills],
};

export const STEP_METRICS: MetricTable<StepTop> = {
  caddis_step_cpu_seconds_total: ['CPU time of the step', (step) => step.cpu_seconds],
  caddis_step_memory_bytes: ['Memory of the step, page cache and all', (step) => step.memory_bytes],
  caddis_step_memory_peak_bytes: ['The most of it', (step) => step.memory_peak_bytes],
};

function stalls<T>(prefix: string, of: (from: T) => StallsTop | null | undefined): MetricTable<T> {
  const resources = [
    ['cpu', 'a CPU'],
    ['memory', 'memory'],
    ['io', 'I/O'],
  ] as const;
  return Object.fromEntries(
    resources.flatMap(([resource, what]) => [
      [
        `${prefix}_${resource}_stall_ratio`,
        [`Share of time in which some task waited for ${what}`, (from: T) => of(from)?.[`${resource}_some`]],
      ],
      [
        `${prefix}_${resource}_stall_full_ratio`,
        [`Share of time in which all tasks waited for ${what}`, (from: T) => of(from)?.[`${resource}_full`]],
      ],
    ]),
  );
}
