import { hostname } from 'node:os';

import { formatKey } from '../../model/job.ts';
import type { Share } from '../../model/node-report.ts';
import type { CostTop, JobTop, NodeTop, ShareTop, StallsTop } from '../../model/top.ts';
import { clamp01, type Stalls } from '../../pressure/psi.ts';
import { usageOf } from '../accounting/tally.ts';
import type { Node } from '../node.ts';
import type { JobView, NodeView } from '../pressure/view.ts';

/** The numbers of the last look, in the words of `caddis top --json`. */
export function top(node: Node, view: NodeView): NodeTop {
  const { report, host } = view;
  return {
    host: hostname(),
    age_ms: Math.round(performance.now() - view.atMs),
    health: node.health.reason ?? 'ok',
    slack: share(report.slack),
    lent: share(report.lent),
    pressure: {
      memory: rounded(report.pressure.memory),
      cpu: rounded(report.pressure.cpu),
      io: rounded(report.pressure.io),
      overall: rounded(report.pressure.overall),
    },
    node: host
      ? {
          memory_bytes: host.sample.totalBytes,
          memory_available_bytes: host.sample.availableBytes,
          idle_cpus: rounded(host.idleCpus),
          stalls: stallsTop(host.stalls),
        }
      : null,
    jobs: view.jobs.map((job) => jobTop(job, node.config.vm.base_memory)),
    cost: costTop(node, view),
  };
}

function costTop(node: Node, { cost }: NodeView): CostTop {
  const { user, system } = process.cpuUsage();
  return {
    daemon_cpu_seconds: rounded((user + system) / 1e6),
    daemon_resident_bytes: process.memoryUsage.rss(),
    samples: cost.samples,
    sampling_seconds: rounded(cost.ms / 1000),
    scheduler_calls: node.schedulerCalls.all(),
  };
}

function jobTop({ job, usage, guest, steps }: JobView, baseMemoryBytes: number): JobTop {
  const limit = job.sizes.memoryBytes ?? baseMemoryBytes;
  // A machine has a little more than its job asked for.
  const said = job.report?.used;
  const total = usageOf(job);
  const used = guest && Math.max(limit - guest.availableBytes, 0);
  return {
    job: formatKey(job.key),
    job_name: job.facts.request.jobName,
    user: job.facts.request.user,
    queue: job.facts.request.queue,
    phase: job.state.phase,
    cpus: job.sizes.cpus ?? 1,
    cpus_used: usage ? rounded(usage.cpus) : null,
    memory_limit_bytes: limit,
    memory_asked_bytes: job.facts.request.memoryBytes ?? job.facts.growth?.askedBytes ?? limit,
    memory_used_bytes: used ?? null,
    memory_resident_bytes: usage?.residentBytes ?? null,
    memory_pressure: used === undefined ? null : rounded(clamp01(used / limit)),
    tasks_runnable: guest?.runnableTasks ?? null,
    stalls: stallsTop(usage?.stalls),
    oom_kills: guest?.oomKills ?? 0,
    cpu_seconds: said ? rounded((total.userMs + total.systemMs) / 1000) : null,
    host_cpu_seconds: rounded(total.hostCpuMs / 1000),
    memory_available_bytes: guest?.availableBytes ?? null,
    memory_held_peak_bytes: said?.heldPeakBytes ?? null,
    memory_peak_bytes: said?.memoryPeakBytes ?? null,
    steps: steps.map((step) => ({
      session: step.session.toString(),
      cpu_seconds: Number(step.cpuMicroseconds) / 1e6,
      memory_bytes: Number(step.memoryBytes),
      memory_peak_bytes: Number(step.memoryPeakBytes),
    })),
  };
}

function stallsTop(stalls: Stalls | undefined): StallsTop | null {
  if (!stalls) return null;
  const { cpu, memory, io } = stalls;
  return {
    ...{ cpu_some: rounded(cpu.some), cpu_full: rounded(cpu.full) },
    ...{ memory_some: rounded(memory.some), memory_full: rounded(memory.full) },
    ...{ io_some: rounded(io.some), io_full: rounded(io.full) },
  };
}

function share({ memoryBytes, cpus }: Share): ShareTop {
  return { memory_bytes: Math.round(memoryBytes), cpus: rounded(cpus) };
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
