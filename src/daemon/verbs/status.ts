import { hostname } from 'node:os';
import { formatKey } from '../../model/job.ts';
import type { MachineStatus, NodeStatus } from '../../model/status.ts';
import { qemuProcess } from '../../vm/qemu-process.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';

export async function status(node: Node): Promise<NodeStatus> {
  return {
    host: hostname(),
    version: node.version,
    acceleration: node.context.acceleration,
    acceleration_reason: node.accelerationReason,
    libvirt: node.context.hypervisor.isUp ? 'up' : 'down',
    image: node.imageId,
    health: node.health.reason ?? 'ok',
    uptime_seconds: Math.round(process.uptime()),
    resident_bytes: process.memoryUsage.rss(),
    machines: await Promise.all(node.jobs.all().map(machineStatus)),
  };
}

async function machineStatus(job: Job): Promise<MachineStatus> {
  return {
    job: formatKey(job.key),
    job_name: job.facts.request.jobName,
    user: job.facts.request.user,
    queue: job.facts.request.queue,
    incarnation: job.facts.incarnation,
    machine: job.machine,
    image: job.facts.image,
    phase: job.state.phase,
    link: job.resources.guest?.isUp ? 'up' : 'down',
    steps: job.state.steps,
    cpus: job.sizes.cpus ?? null,
    memory_bytes: job.sizes.memoryBytes ?? null,
    memory_asked_bytes: job.facts.request.memoryBytes ?? job.facts.growth?.askedBytes ?? null,
    memory_available_bytes: job.sizes.availableBytes ?? null,
    address: job.facts.address ?? null,
    qemu_pid: (await qemuProcess(job.machine))?.pid ?? null,
    boot_path: job.bootPath,
    frozen_ms: Math.round(job.stoodStillMs),
    progress: job.progress
      ? { what: job.progress.what, done_bytes: job.progress.doneBytes, total_bytes: job.progress.totalBytes }
      : null,
    started_at: job.facts.startedAt,
    start_ms: job.startMs,
  };
}
