import type { Lab } from '../lab/host.ts';
import { withAllocation } from './allocation.ts';
import { type BenchOptions, type Figures, onLab } from './bench.ts';
import { daemonMemory } from './daemon-memory.ts';
import { shimMemory } from './shim-memory.ts';
import { stepLatency } from './step-latency.ts';
import { throughput } from './throughput.ts';

const NODE = 'n1';

/** What a step costs in a machine that runs: latency, bytes per second, memory on the host. */
export async function exec({
  runs = 30,
  megabytes = 100,
  machines = 10,
  say,
}: BenchOptions): Promise<Figures> {
  return onLab(say, async (lab: Lab) => {
    const inJob = await withAllocation(lab, { node: NODE, where: 'native' }, (native) =>
      withAllocation(lab, { node: NODE, where: 'vm' }, async (vm) => {
        say('latency');
        const latency = await stepLatency(lab, { node: NODE, native, vm, runs });
        say('throughput');
        const bytesPerSecond = await throughput(lab, { node: NODE, job: vm, megabytes, say });
        say('memory of the shim');
        return {
          step: latency,
          throughput: bytesPerSecond,
          shim: await shimMemory(lab, { node: NODE, job: vm }),
        };
      }),
    );
    if (machines === 0) return inJob;
    say(`memory of the daemon with ${machines} machines`);
    return { ...inJob, daemon: await daemonMemory(lab, { node: NODE, machines, say }) };
  });
}
