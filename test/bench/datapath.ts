import { readFileSync } from 'node:fs';
import { AgentProcess } from '../integration/support/agent.ts';
import { RouterProcess } from '../integration/support/router-process.ts';
import { TestShim } from '../integration/support/test-shim.ts';
import type { BenchOptions, Figures } from './bench.ts';
import { rounded } from './statistics.ts';

interface DatapathResult {
  readonly bytes: number;
  readonly megabytesPerSecond: number;
  /** CPU time of the caddisd process per gigabyte. */
  readonly daemonCpuSecondsPerGigabyte: number;
  readonly daemonRssMegabytes: number;
  readonly agentRssMegabytes: number;
}

const GIGABYTE = 1_000_000_000;

/** `npm run bench -- datapath`: needs no lab. */
export async function datapath({ megabytes = 1000 }: BenchOptions): Promise<Figures> {
  const result = await run(megabytes * 1e6);
  return {
    megabytes,
    stdout_mb_per_s: rounded(result.megabytesPerSecond),
    daemon_cpu_s_per_gb: rounded(result.daemonCpuSecondsPerGigabyte),
    daemon_rss_mb: rounded(result.daemonRssMegabytes),
    agent_rss_mb: rounded(result.agentRssMegabytes),
  };
}

/** Node as the data path: `bytes` from the real agent's stdout through a router process of its own to a shim in this process. */
async function run(bytes = GIGABYTE): Promise<DatapathResult> {
  const agent = await AgentProcess.start();
  const hookPath = `${agent.dir}/hook.sock`;
  const router = await RouterProcess.start(agent.dir, hookPath);
  try {
    const before = await router.usage();
    const began = performance.now();
    const shim = new TestShim({
      hookPath,
      argv: ['head', '-c', String(bytes), '/dev/zero'],
      output: () => undefined,
    });
    await shim.run(120_000);
    const seconds = (performance.now() - began) / 1000;
    const after = await router.usage();
    const cpuSeconds = (after.cpuMicroseconds - before.cpuMicroseconds) / 1e6;
    return {
      bytes,
      megabytesPerSecond: bytes / 1e6 / seconds,
      daemonCpuSecondsPerGigabyte: cpuSeconds / (bytes / GIGABYTE),
      daemonRssMegabytes: after.rssBytes / 1e6,
      agentRssMegabytes: residentBytes(agent.pid) / 1e6,
    };
  } finally {
    await router.kill();
    await agent.stop();
  }
}

function residentBytes(pid: number): number {
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0);
}
