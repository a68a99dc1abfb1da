import type { Lab } from '../host.ts';
import type { Cell } from './cell.ts';

/** Slots of each node in each queue. */
const SLOTS = 4;

/** Lines `name value` as qconf reads them. */
function lines(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${value}\n`)
    .join('');
}

/** bootstrap(5): what daemons read before they know anything else. */
export function bootstrap(cell: Cell): string {
  return lines({
    admin_user: 'sgeadmin',
    default_domain: 'none',
    ignore_fqdn: 'true',
    spooling_method: 'berkeleydb',
    spooling_lib: 'libspoolb',
    spooling_params: cell.database,
    binary_path: `${cell.root}/bin`,
    qmaster_spool_dir: cell.qmasterSpool,
    security_mode: 'none',
    listener_threads: 2,
    worker_threads: 2,
    scheduler_threads: 1,
  });
}

/** sge_conf(5), on top of the values that Debian ships. */
export function globalConfiguration(cell: Cell, shipped: string): string {
  const ours: Record<string, string> = {
    execd_spool_dir: cell.execdSpool,
    // Quick answers for tests; a loaded lab must not lose a node that is merely slow.
    load_report_time: '00:00:01',
    max_unheard: '00:01:00',
    loglevel: 'log_info',
    reporting_params:
      'accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00 joblog=false sharelog=00:00:00',
    // As sge_conf(5) has it by default, and what "caddis migrate --to" and [growth] alter.
    jsv_allowed_mod: 'ac,h,i,e,o,j,M,N,p,w,q_hard,l_hard',
    jsv_url: `script:${cell.hooks}/jsv`,
    load_sensor: `${cell.hooks}/load-sensor.sh`,
  };
  const kept = shipped
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#') && !((line.split(/\s+/)[0] ?? '') in ours));
  return `${kept.join('\n')}\n${lines(ours)}`;
}

/** The scheduler's configuration: every second, and at once after a submission or an end. */
export function schedulerConfiguration(shipped: string): string {
  const ours: Record<string, string> = {
    schedule_interval: '0:0:1',
    flush_submit_sec: '1',
    flush_finish_sec: '1',
    job_load_adjustments: 'NONE',
    load_adjustment_decay_time: '0:0:0',
    schedd_job_info: 'true',
  };
  const kept = shipped.split('\n').filter((line) => line !== '' && !((line.split(/\s+/)[0] ?? '') in ours));
  return `${kept.join('\n')}\n${lines(ours)}`;
}

/**
 * A node's own configuration. The lab's hosts are namespaces over one table of processes: with the same range on both nodes, the end of a job on one would kill the job
 * that has the same additional group on the other.
 */
export function hostConfiguration(index: number): string {
  const first = 65_000 + 100 * index;
  return lines({ gid_range: `${first}-${first + 99}` });
}

/** As sites count their graphics cards; a node of the lab says that it has one, to show what becomes of jobs that ask for it. */
export const GPU_COMPLEX = 'gpu gpu INT <= YES YES 0 0\n';

export function execHost(name: string, memory: string): string {
  return lines({
    hostname: name,
    load_scaling: 'NONE',
    complex_values: `vm_mem=${memory},vm_tmp=40G,gpu=1`,
    user_lists: 'NONE',
    xuser_lists: 'NONE',
    projects: 'NONE',
    xprojects: 'NONE',
    usage_scaling: 'NONE',
    report_variables: 'NONE',
  });
}

export function hostGroup(lab: Lab): string {
  return lines({ group_name: '@allhosts', hostlist: lab.nodes.map(({ name }) => name).join(' ') });
}

/** `mpi`: one slot a host, slaves under control; `smp`: all slots on one host. */
export function parallelEnvironment(name: 'mpi' | 'smp'): string {
  return lines({
    pe_name: name,
    slots: 999,
    user_lists: 'NONE',
    xuser_lists: 'NONE',
    start_proc_args: 'NONE',
    stop_proc_args: 'NONE',
    allocation_rule: name === 'mpi' ? 1 : '$pe_slots',
    control_slaves: name === 'mpi' ? 'TRUE' : 'FALSE',
    job_is_first_task: 'FALSE',
    urgency_slots: 'min',
    accounting_summary: 'FALSE',
    qsort_args: 'NONE',
  });
}

const LIMITS = ['rt', 'cpu', 'fsize', 'data', 'stack', 'core', 'rss', 'vmem'];

/** A queue of all nodes without any hook of ours: `native.q` is this; `all.q` and `move.q`, whose jobs a suspension moves, get hooks/gridengine/queue.conf on top. */
export function queue(name: string): string {
  return lines({
    qname: name,
    hostlist: '@allhosts',
    seq_no: name === 'all.q' ? 0 : 10,
    load_thresholds: 'NONE',
    suspend_thresholds: 'NONE',
    nsuspend: 1,
    suspend_interval: '00:00:05',
    priority: 0,
    // Checkpoints when a test asks for them, not in between.
    min_cpu_interval: '24:00:00',
    processors: 'UNDEFINED',
    qtype: 'BATCH INTERACTIVE',
    ckpt_list: 'NONE',
    pe_list: 'mpi smp',
    rerun: 'TRUE',
    slots: SLOTS,
    tmpdir: '/tmp',
    shell: '/bin/sh',
    prolog: 'NONE',
    epilog: 'NONE',
    shell_start_mode: 'unix_behavior',
    starter_method: 'NONE',
    suspend_method: 'NONE',
    resume_method: 'NONE',
    terminate_method: 'NONE',
    notify: '00:00:10',
    owner_list: 'NONE',
    user_lists: 'NONE',
    xuser_lists: 'NONE',
    subordinate_list: 'NONE',
    complex_values: 'NONE',
    projects: 'NONE',
    xprojects: 'NONE',
    calendar: 'NONE',
    initial_state: 'default',
    ...Object.fromEntries(
      LIMITS.flatMap((limit) => [`s_${limit}`, `h_${limit}`].map((n) => [n, 'INFINITY'])),
    ),
  });
}
