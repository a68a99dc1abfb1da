import { randomBytes } from 'node:crypto';
import { once } from 'node:events';

import type { Lab } from '../lab/host.ts';
import { until } from '../lab/process.ts';
import type { Figures } from './bench.ts';
import { hooksWith, privateKib, startOnNode, throughHook } from './on-node.ts';

/** Private memory that a caddis-hook may have (issue 2). */
const AIM_KIB = 1024;
const SAMPLES = 20;

/** Private memory of a caddis-hook whose step is idle, and the most of one through which output flows in both streams to a slow reader. */
export async function shimMemory(lab: Lab, { node, job }: { node: string; job: string }): Promise<Figures> {
  const idle = await memoryOf(lab, { node, job, script: 'sleep 60', samples: 1 });
  const busy = await memoryOf(lab, {
    node,
    job,
    script: 'cat /dev/zero & cat /dev/zero >&2',
    samples: SAMPLES,
  });
  return {
    idle_private_kib: idle,
    busy_private_kib: busy,
    aim_kib: AIM_KIB,
    met: Math.max(idle, busy) < AIM_KIB,
  };
}

async function memoryOf(
  lab: Lab,
  { node, job, script, samples }: { node: string; job: string; script: string; samples: number },
): Promise<number> {
  const word = `bench-${randomBytes(6).toString('hex')}`;
  const command = throughHook(job, ['sh', '-c', `echo begun; ${script}`, word]);
  const child = await startOnNode(lab, { host: node, command, user: 'alice' });
  try {
    await once(child.stdout as NodeJS.ReadableStream, 'data', { signal: AbortSignal.timeout(30_000) });
    const [pid] = await until('the shim', async () => {
      const pids = hooksWith(word);
      return pids.length > 0 && pids;
    });
    let most = 0;
    for (let sample = 0; sample < samples; sample++) {
      most = Math.max(most, privateKib(pid as number) ?? 0);
      // The reader takes some and pauses, so that the window is full most of the time.
      child.stdout?.resume();
      await new Promise((resolve) => setTimeout(resolve, 25));
      child.stdout?.pause();
      await new Promise((resolve) => setTimeout(resolve, 75));
    }
    if (most === 0) throw new Error('the shim ended before its memory was read');
    return most;
  } finally {
    // The shim's end is the step's end.
    for (const pid of hooksWith(word)) process.kill(pid, 'SIGKILL');
    child.stdout?.destroy();
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
}
