import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import type { NodeStatus } from '../../../src/model/status.ts';
import type { NodeTop } from '../../../src/model/top.ts';
import { parseProcessStat } from '../../../src/pressure/proc.ts';
import { cancel, type RunningJob, startJob } from '../../integration/support/machines.ts';
import { hookClient } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on } from '../../lab/process.ts';
import { type Bench, type Figures, onLab } from '../bench.ts';
import { rounded } from '../statistics.ts';
import { simulated } from './simulated.ts';

/** Issue 4: all together, of one core at 50 machines, without the guests' own work. */
const AIM_CORE_PERCENT = 1;
const AIM_MACHINES = 50;
const SECONDS = 20;
/** Kernels of machines that were just made are busy with themselves. */
const SETTLE_MS = 8_000;
/** Emulated guests: more would be busy with one another on two cores. A lab node has CPUs for 8. */
const REAL_MACHINES = 6;

/**
 * Cost of sampling. `real`: machines of jobs of both schedulers that sleep, their agents reporting; CPU time of caddisd and libvirtd, which is nobody else's, and of QEMU, most of which is the guests'
 * own. `simulated`: caddisd's own parts alone, with more machines than two cores can emulate.
 */
export const sampling: Bench = async ({ machines = REAL_MACHINES, say }) => {
  const parts: Record<string, Figures> = {};
  let aim: Figures = {};
  for (const count of [1, 10, AIM_MACHINES]) {
    say(`${count} machines, simulated`);
    const { cpu_ms_per_s: cpuMs, ...rest } = await simulated(count, SECONDS);
    const percent = cpuMs / 10;
    parts[`machines_${count}`] = {
      caddisd_cpu_ms_per_s: cpuMs,
      caddisd_cpu_ms_per_machine_and_s: rounded(cpuMs / count),
      caddisd_core_percent: rounded(percent),
      ...rest,
    };
    aim = {
      aim_core_percent: AIM_CORE_PERCENT,
      core_percent: rounded(percent),
      met: percent <= AIM_CORE_PERCENT,
    };
  }
  return { simulated: { ...parts, ...aim }, real: await onLab(say, (lab) => real(lab, machines, say)) };
};

async function real(lab: Lab, machines: number, say: (line: string) => void): Promise<Figures> {
  const node = lab.nodes[0] as LabHost;
  const jobs: RunningJob[] = [];
  const figures: Record<string, Figures> = {};
  try {
    figures.machines_0 = await measure(node, 0);
    for (let count = 1; count <= machines; count++) {
      const system = count % 2 === 1 ? 'slurm' : 'gridengine';
      jobs.push(await startJob(lab, system, { node, memory: '128M' }, 'echo ready\nexec sleep 3600'));
      say(`${count} of ${machines} machines`);
      if (count === 1 || count === machines) {
        await sleep(SETTLE_MS);
        figures[`machines_${count}`] = await measure(node, count);
      }
    }
    return figures;
  } finally {
    await Promise.all(jobs.map(cancel));
  }
}

async function measure(node: LabHost, count: number): Promise<Figures> {
  const caddisd = await pidIn(node, '/run/caddis/caddisd.pid');
  const libvirtd = await pidIn(node, '/run/libvirt/libvirtd.pid');
  const { machines } = JSON.parse(await on(node, [hookClient, 'status'])) as NodeStatus;
  const qemu = machines.flatMap(({ qemu_pid: pid }) => (pid === null ? [] : [pid]));
  if (qemu.length !== count)
    throw new Error(`expected ${count} machines on ${node.name}, got ${qemu.length}`);
  const look = async () => ({
    atMs: performance.now(),
    calls: await schedulerCalls(node),
    caddisd: cpuMs(caddisd),
    libvirtd: cpuMs(libvirtd),
    qemu: qemu.reduce((sum, pid) => sum + cpuMs(pid), 0),
  });
  const before = await look();
  await sleep(SECONDS * 1000);
  const after = await look();
  const seconds = (after.atMs - before.atMs) / 1000;
  const rate = (name: 'caddisd' | 'libvirtd' | 'qemu') => rounded((after[name] - before[name]) / seconds);
  return {
    caddisd_cpu_ms_per_s: rate('caddisd'),
    libvirtd_cpu_ms_per_s: rate('libvirtd'),
    qemu_and_guests_cpu_ms_per_s: rate('qemu'),
    scheduler_calls_per_minute: rounded((60 * (after.calls - before.calls)) / seconds),
  };
}

async function schedulerCalls(node: LabHost): Promise<number> {
  const { cost } = JSON.parse(await on(node, [hookClient, 'top'])) as NodeTop;
  return cost.scheduler_calls.reduce((sum, { calls }) => sum + calls, 0);
}

async function pidIn(node: LabHost, path: string): Promise<number> {
  const text = await on(node, ['cat', path]);
  const pid = Number(text.trim());
  if (!(pid > 1)) throw new Error(`no pid in ${path} on ${node.name}: "${text}"`);
  return pid;
}

function cpuMs(pid: number): number {
  const stat = parseProcessStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  if (!stat) throw new Error(`process ${pid} is gone`);
  return stat.cpuMs;
}
