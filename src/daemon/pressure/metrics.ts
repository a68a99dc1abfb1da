import { createServer, type Server } from 'node:http';

import { Gauge, Registry } from 'prom-client';

import { CaddisError } from '../../model/errors.ts';
import type { JobTop, NodeTop } from '../../model/top.ts';

/** A scraper or two; what comes beyond waits. */
const CONNECTIONS_MOST = 16;
const REQUEST_MS = 5_000;

const OK_HELP = '1 while machines can be made on this node';

const NODE_GAUGES: Readonly<Record<string, [help: string, of: (top: NodeTop) => number | undefined]>> = {
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
  caddis_node_memory_available_bytes: ['MemAvailable', (top) => top.node?.memory_available_bytes],
  caddis_node_idle_cpus: ['Idle CPUs of the host', (top) => top.node?.idle_cpus],
};

const JOB_GAUGES: Readonly<Record<string, [help: string, of: (job: JobTop) => number | null | undefined]>> = {
  caddis_job_cpus: ['CPUs that the job has', (job) => job.cpus],
  caddis_job_cpus_used: ['CPUs of the host in use', (job) => job.cpus_used],
  caddis_job_memory_limit_bytes: ['Memory that the job may use', (job) => job.memory_limit_bytes],
  caddis_job_memory_asked_bytes: [
    'Memory that was asked for; the rest was grown',
    (job) => job.memory_asked_bytes,
  ],
  caddis_job_memory_used_bytes: ['Memory that the job uses', (job) => job.memory_used_bytes],
  caddis_job_memory_resident_bytes: [
    'Memory of the host that its machine holds',
    (job) => job.memory_resident_bytes,
  ],
  caddis_job_memory_pressure_ratio: ['Used over limit', (job) => job.memory_pressure],
  caddis_job_tasks_runnable: ['Tasks that run or want to', (job) => job.tasks_runnable],
  caddis_job_cpu_stall_ratio: [
    'Share of time in which some task waited for a CPU',
    (job) => job.stalls?.cpu_some,
  ],
  caddis_job_memory_stall_ratio: [
    'Share of time in which some task waited for memory',
    (job) => job.stalls?.memory_some,
  ],
  caddis_job_io_stall_ratio: [
    'Share of time in which some task waited for I/O',
    (job) => job.stalls?.io_some,
  ],
  caddis_job_oom_kills: ['Processes that the job lost at its memory limit', (job) => job.oom_kills],
};

const JOB_LABELS = ['job', 'user', 'queue', 'phase'] as const;

/** The numbers of `caddis top` in Prometheus's text format. What is not known has no sample. */
export function metricsText(top: NodeTop | undefined): Promise<string> {
  const registry = new Registry();
  const registers = [registry];
  if (!top) {
    new Gauge({ name: 'caddis_ok', help: OK_HELP, registers }).set(0);
    return registry.metrics();
  }
  for (const [name, [help, of]] of Object.entries(NODE_GAUGES)) {
    const value = of(top);
    // A gauge without a label is 0 until it is set.
    if (value !== undefined) new Gauge({ name, help, registers }).set(value);
  }
  for (const [name, [help, of]] of Object.entries(JOB_GAUGES)) {
    const gauge = new Gauge({ name, help, labelNames: JOB_LABELS, registers });
    for (const job of top.jobs) {
      const value = of(job);
      if (typeof value !== 'number') continue;
      gauge.set({ job: job.job, user: job.user, queue: job.queue, phase: job.phase }, value);
    }
  }
  return registry.metrics();
}

/** Answers `GET /metrics` at ADDRESS:PORT. Rejects with CaddisError when it cannot listen there. */
export async function serveMetrics(listen: string, top: () => NodeTop | undefined): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
      response.writeHead(404).end('GET /metrics\n');
      return;
    }
    metricsText(top()).then(
      (text) => response.writeHead(200, { 'content-type': Registry.PROMETHEUS_CONTENT_TYPE }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  server.maxConnections = CONNECTIONS_MOST;
  server.headersTimeout = REQUEST_MS;
  server.requestTimeout = REQUEST_MS;
  const colon = listen.lastIndexOf(':');
  const host = listen.slice(0, colon).replace(/^\[|\]$/g, '');
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(new CaddisError(`metrics.listen "${listen}": ${error.message}`, { cause: error })),
    );
    server.listen(Number(listen.slice(colon + 1)), host, resolve);
  });
  return server;
}
