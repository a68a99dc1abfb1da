import { hookClient } from '../lab/caddisd.ts';
import type { Lab, LabHost } from '../lab/host.ts';
import { on } from '../lab/process.ts';
import type { BenchOptions, Figures } from './bench.ts';
import { MachinesByHook } from './machines-by-hook.ts';
import { rounded } from './statistics.ts';

/** Resident memory that a caddisd with ten machines may have (issue 2). */
const AIM_MIB = 100;

/** Resident memory of a node's caddisd before and with so many machines. */
export async function daemonMemory(
  lab: Lab,
  { node, machines, say }: { node: string; machines: number; say: BenchOptions['say'] },
): Promise<Figures> {
  const host = lab.nodes.find(({ name }) => name === node);
  if (!host) throw new Error(`no node ${node} in the lab`);
  const made = new MachinesByHook(lab, node);
  await made.begin();
  try {
    const before = await status(host);
    for (let i = before.machines.length; i < machines; i++) {
      await made.add();
      say(`${i + 1} of ${machines} machines`);
    }
    const full = await status(host);
    if (full.machines.length < machines)
      throw new Error(
        `expected ${machines} machines on ${node}, caddisd has ${full.machines.length}: see its log`,
      );
    const withMachines = full.resident_bytes / 2 ** 20;
    return {
      machines_before: before.machines.length,
      resident_before_mib: rounded(before.resident_bytes / 2 ** 20),
      machines: full.machines.length,
      resident_mib: rounded(withMachines),
      uptime_s: full.uptime_seconds,
      aim_mib: AIM_MIB,
      met: withMachines < AIM_MIB,
    };
  } finally {
    await made.removeAll();
  }
}

async function status(host: LabHost) {
  return JSON.parse(await on(host, [hookClient, 'status'])) as {
    resident_bytes: number;
    uptime_seconds: number;
    machines: unknown[];
  };
}
