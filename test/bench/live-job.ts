import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { baseMemory, presentMemory } from '../../src/vm/devices.ts';
import { submit } from '../integration/support/batch.ts';
import { hookClient } from '../lab/caddisd.ts';
import type { Lab, LabHost } from '../lab/host.ts';
import { on, until } from '../lab/process.ts';
import { bash, throughHook } from './on-node.ts';

const DEADLINE_MS = 240_000;
export const LIVE_DATA = join(import.meta.dirname, 'live-data.py');

/** A running sbatch job that holds live data (live-data.py). */
export interface LiveJob {
  readonly id: string;
  readonly key: string;
  readonly directory: string;
  readonly megabytes: number;
  readonly requestMib: number;
}

/** Starts it on `node` with a memory request of 1 to 4 GiB; resolves when the data are there and it counts. */
export async function startLiveJob(lab: Lab, node: LabHost, megabytes: number): Promise<LiveJob> {
  const requestMib = Math.min(4096, Math.max(1024, 2 ** Math.ceil(Math.log2(megabytes * 1.5))));
  const { id, directory } = await submit(lab, 'slurm', 'vm', {
    script: `#!/bin/bash\nexec python3 live-data.py ${megabytes}\n`,
    files: { 'live-data.py': await readFile(LIVE_DATA, 'utf8') },
    options: ['-w', node.name, `--mem=${requestMib}M`, '-t', '30'],
  });
  const job = { id, key: `slurm-${id}`, directory, megabytes, requestMib };
  await until(`job ${id} to have its data`, async () => (await lastTick(job)) >= 20, {
    timeoutMs: DEADLINE_MS,
    everyMs: 200,
  });
  return job;
}

/** Number of the last whole line of its output; 0 before the first. */
export async function lastTick({ directory }: LiveJob): Promise<number> {
  const text = await readFile(join(directory, 'out'), 'utf8').catch(() => '');
  return Number([...text.matchAll(/^tick (\d+).*\n/gm)].at(-1)?.[1] ?? 0);
}

/** Asks the job to write so many MB/s of its data anew. A new file each time: its guest may have a delegation for the old one, of whose changes here its server knows nothing. */
export async function askDirtyRate({ directory }: LiveJob, megabytesPerSecond: number): Promise<void> {
  const path = join(directory, 'rate');
  await writeFile(`${path}.new`, `${megabytesPerSecond}`, { mode: 0o644 });
  await rename(`${path}.new`, path);
}

/** The same; resolves with what it reaches, MB/s. */
export async function setDirtyRate(job: LiveJob, megabytesPerSecond: number): Promise<number> {
  await askDirtyRate(job, megabytesPerSecond);
  const from = await lastTick(job);
  return until(
    `job ${job.id} to write ${megabytesPerSecond} MB/s`,
    async () => {
      const text = await readFile(join(job.directory, 'out'), 'utf8');
      // Of the first report in which the rate held the whole second, so the second that says it.
      const reports = [...text.matchAll(/^tick (\d+) wanted (\d+) reached (\d+)$/gm)]
        .filter(([, tick, wanted]) => Number(tick) > from && Number(wanted) === megabytesPerSecond)
        .map(([, , , reached]) => Number(reached));
      return reports[1];
    },
    { timeoutMs: 60_000, everyMs: 200 },
  );
}

/** What the guest uses at this moment, in bytes. */
interface Usage {
  /** The machine's memory less MemFree. */
  readonly usedBytes: number;
  /** What of it the kernel does not count in MemTotal: its own code and data, and the descriptions of all pages. */
  readonly kernelBytes: number;
}

export async function usageOf(lab: Lab, node: LabHost, job: LiveJob): Promise<Usage> {
  const script = throughHook(job.id, ['cat', '/proc/meminfo']).join(' ');
  const text = await bash(lab, { host: node.name, script, user: 'alice' });
  const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
  const domain = await domainOf(node, job);
  const xml = await on(node, ['virsh', '-c', 'qemu:///system', 'dumpxml', domain], { timeoutMs: 30_000 });
  const memoryBytes = baseMemory(xml) + presentMemory(xml);
  return {
    usedBytes: memoryBytes - bytes('MemFree'),
    kernelBytes: memoryBytes - bytes('MemTotal'),
  };
}

/** libvirt's name of the job's machine on a node. */
export async function domainOf(node: LabHost, { key }: LiveJob): Promise<string> {
  const text = await on(node, [hookClient, '--connect-timeout', '20', 'status'], { timeoutMs: 30_000 });
  const { machines } = JSON.parse(text) as { machines: { job: string; machine: string }[] };
  const machine = machines.find(({ job }) => job === key)?.machine;
  if (!machine) throw new Error(`${key} has no machine on ${node.name}`);
  return machine;
}
