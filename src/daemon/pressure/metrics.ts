import { createServer, type Server } from 'node:http';

import { Counter, Gauge, Registry } from 'prom-client';

import { CaddisError } from '../../model/errors.ts';
import type { NodeTop } from '../../model/top.ts';
import { JOB_METRICS, type MetricTable, NODE_METRICS, OK_HELP, STEP_METRICS } from './metric-table.ts';

/** A scraper or two; what comes beyond waits. */
const CONNECTIONS_MOST = 16;
const REQUEST_MS = 5_000;

const JOB_LABELS = ['job', 'user', 'queue', 'phase'];

/** The numbers of `caddis top` in Prometheus's text format. What is not known has no sample. */
export function metricsText(top: NodeTop | undefined): Promise<string> {
  const registry = new Registry();
  if (!top) {
    new Gauge({ name: 'caddis_ok', help: OK_HELP, registers: [registry] }).set(0);
    return registry.metrics();
  }
  const jobs = top.jobs.map((job) => {
    const { job: name, user, queue, phase } = job;
    return { from: job, labels: { job: name, user, queue, phase } };
  });
  const steps = top.jobs.flatMap((job) =>
    job.steps.map((step) => ({ from: step, labels: { job: job.job, session: step.session } })),
  );
  put(registry, NODE_METRICS, [], [{ from: top, labels: {} }]);
  put(registry, JOB_METRICS, JOB_LABELS, jobs);
  put(registry, STEP_METRICS, ['job', 'session'], steps);
  const calls = new Counter({
    name: 'caddis_scheduler_calls_total',
    help: 'Commands of a scheduler that caddisd has run',
    labelNames: ['scheduler', 'command'],
    registers: [registry],
  });
  for (const { scheduler, command, calls: times } of top.cost.scheduler_calls)
    calls.inc({ scheduler, command }, times);
  return registry.metrics();
}

function put<T>(
  registry: Registry,
  metrics: MetricTable<T>,
  labelNames: string[],
  all: readonly { readonly from: T; readonly labels: Record<string, string> }[],
): void {
  for (const [name, [help, of]] of Object.entries(metrics)) {
    const values = all.flatMap(({ from, labels }) => {
      const value = of(from);
      return typeof value === 'number' ? [{ value, labels }] : [];
    });
    // One without a label is 0 until it is set.
    if (values.length === 0 && labelNames.length === 0) continue;
    const options = { name, help, labelNames, registers: [registry] };
    if (name.endsWith('_total')) {
      const counter = new Counter(options);
      for (const { value, labels } of values) counter.inc(labels, value);
    } else {
      const gauge = new Gauge(options);
      for (const { value, labels } of values) gauge.set(labels, value);
    }
  }
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
