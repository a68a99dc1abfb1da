import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { metricsText, serveMetrics } from '../../../src/daemon/pressure/metrics.ts';
import type { NodeTop } from '../../../src/model/top.ts';

const STALLS = { cpu_some: 0, cpu_full: 0, memory_some: 0, memory_full: 0, io_some: 0, io_full: 0 };
const TOP: NodeTop = {
  ...{ host: 'n1', age_ms: 250, health: 'ok', node: null },
  slack: { memory_bytes: 1024, cpus: 1.5 },
  lent: { memory_bytes: 0, cpus: 0 },
  pressure: { memory: 0.1, cpu: 0.5, io: 0, overall: 0.5 },
  jobs: [
    {
      ...{
        job: 'slurm-7',
        job_name: 'a',
        user: 'al"ice',
        queue: 'main',
        phase: 'running',
        cpus: 2,
        cpus_used: 0.5,
      },
      ...{
        memory_limit_bytes: 100,
        memory_asked_bytes: 80,
        memory_used_bytes: 50,
        memory_resident_bytes: null,
        memory_pressure: 0.5,
      },
      ...{ tasks_runnable: 1, stalls: null, oom_kills: 0 },
      ...{ cpu_seconds: 5.5, host_cpu_seconds: 7, memory_available_bytes: null },
      ...{ memory_held_peak_bytes: 60, memory_peak_bytes: 80 },
      steps: [{ session: '99', cpu_seconds: 5, memory_bytes: 40, memory_peak_bytes: 70 }],
    },
  ],
  cost: {
    ...{ daemon_cpu_seconds: 3, daemon_resident_bytes: 1, samples: 10, sampling_seconds: 0.01 },
    scheduler_calls: [{ scheduler: 'slurm', command: 'scontrol', calls: 4 }],
  },
};

it('gives what is known, and no sample for what is not', async () => {
  const text = await metricsText(TOP);
  expect(text).toContain('\ncaddis_slack_memory_bytes 1024\n');
  expect(text).toContain(
    '\ncaddis_job_memory_used_bytes{job="slurm-7",user="al\\"ice",queue="main",phase="running"} 50\n',
  );
  expect(text).toContain('\n# TYPE caddis_job_cpu_seconds_total counter\n');
  expect(text).toMatch(/^caddis_job_cpu_seconds_total\{job="slurm-7",.*\} 5.5$/m);
  expect(text).toContain('\ncaddis_step_memory_peak_bytes{job="slurm-7",session="99"} 70\n');
  expect(text).toContain('\ncaddis_scheduler_calls_total{scheduler="slurm",command="scontrol"} 4\n');
  expect(text).toContain('\ncaddis_samples_total 10\n');
  expect(text).not.toMatch(/^caddis_job_memory_resident_bytes\{/m);
  expect(text).not.toMatch(/^caddis_node_idle_cpus/m);
  expect(await metricsText(undefined)).toMatch(/^caddis_ok 0$/m);
});

it('answers /metrics and nothing else', async () => {
  const server = await serveMetrics('127.0.0.1:0', () => TOP);
  const { port } = server.address() as AddressInfo;
  const status = (path: string) =>
    new Promise((resolve, reject) =>
      get({ port, path, agent: false }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      }).once('error', reject),
    );
  expect([await status('/metrics'), await status('/metrics?a'), await status('/')]).toEqual([200, 200, 404]);
  await expect(serveMetrics(`127.0.0.1:${port}`, () => TOP)).rejects.toThrow(
    `metrics.listen "127.0.0.1:${port}"`,
  );
  server.close();
});

it('has every metric that the dashboard asks for', async () => {
  const dashboard = readFileSync(join(import.meta.dirname, '../../../docs/grafana-dashboard.json'), 'utf8');
  const text = await metricsText({
    ...TOP,
    node: { memory_bytes: 1, memory_available_bytes: 1, idle_cpus: 1, stalls: STALLS },
  });
  const asked = new Set(dashboard.match(/caddis_\w+/g));
  expect(asked.size).toBeGreaterThan(8);
  for (const name of asked) expect(text).toMatch(new RegExp(`^# TYPE ${name} (gauge|counter)$`, 'm'));
});
