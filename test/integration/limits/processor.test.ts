import { readdir, readFile } from 'node:fs/promises';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { type BatchSystem, runBatch } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { cancel, JOB_MS, optionsFor, outputOf, type RunningJob, startJob } from '../support/machines.ts';

/** What the first node's caddisd is told for this file; the second node is the control. */
const LIMITED = `[vm]
cpu_quota_percent = 50
[scratch]
write_bytes_per_second = "4M"
`;
/** USER_HZ: the unit of /proc/PID/stat. */
const TICKS_PER_SECOND = 100;

const SPIN = `echo "vcpus $(nproc)"
for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done
echo ready; wait`;

/** Writes 16 MiB to the scratch disk and says how many bytes a second went. */
const WRITE = `cat >write.py <<'PY'
import os, time
begin = time.time()
with open('/tmp/big', 'wb') as f:
    for _ in range(16): f.write(os.urandom(1 << 20))
    f.flush(); os.fsync(f.fileno())
print('written', int((16 << 20) / (time.time() - begin)))
PY
exec python3 write.py`;

describe('processor and disk', () => {
  let lab: Lab;
  let limited: LabHost;
  let free: LabHost;
  beforeAll(async () => {
    lab = await theLab();
    const [first, second] = lab.nodes;
    if (!first || !second) throw new Error('the lab has fewer than two nodes');
    [limited, free] = [first, second];
    await stopOn(limited);
    await startOn(lab, limited, LIMITED);
  });
  afterAll(async () => {
    await stopOn(limited);
    await startOn(lab, limited);
  });

  it.each<[BatchSystem, number]>([
    ['slurm', 1],
    ['gridengine', 2],
  ])('a job of %s with %i CPUs has as many vCPUs, whatever it starts', async (system, cpus) => {
    const job = await startJob(lab, system, { node: free, memory: '200M', cpus }, SPIN);
    try {
      expect(await outputOf(job)).toContain(`vcpus ${cpus}\n`);
      const used = await vcpuSeconds(job, 4_000);
      expect(used.perThread.filter((seconds) => seconds > 0.1)).toHaveLength(cpus);
      expect(used.sum / used.elapsed).toBeLessThanOrEqual(cpus * 1.05);
    } finally {
      await cancel(job);
    }
  });

  it('eight spinning threads get half a core where a vCPU has half a core', async () => {
    const job = await startJob(lab, 'slurm', { node: limited, memory: '200M', cpus: 1 }, SPIN);
    try {
      const used = await vcpuSeconds(job, 6_000);
      expect(used.sum / used.elapsed).toBeLessThan(0.55);
      expect(used.sum).toBeGreaterThan(0.1);
    } finally {
      await cancel(job);
    }
  });

  it('the scratch disk is as fast as caddis.toml allows', { timeout: 240_000 }, async () => {
    // One after the other: the limited job must not slow the other one down.
    const fast = await written(free);
    const slow = await written(limited);
    // A throttle lets a first burst through.
    expect(slow).toBeLessThan(4 * 1024 * 1024 * 1.35);
    expect(fast, `beside ${slow} throttled`).toBeGreaterThan(1.5 * slow);

    async function written(node: LabHost): Promise<number> {
      const { exitCode, stdout, stderr } = await runBatch(lab, 'gridengine', 'vm', {
        script: `#!/bin/bash\n${WRITE}\n`,
        options: optionsFor('gridengine', { node, memory: '200M' }),
        timeoutMs: JOB_MS,
      });
      expect(exitCode, stderr).toBe(0);
      return Number(/^written (\d+)$/m.exec(stdout)?.[1]);
    }
  });
});

/** Processor time that the vCPU threads of a job's QEMU took within `ms`, in seconds. */
async function vcpuSeconds(job: RunningJob, ms: number) {
  const begin = performance.now();
  const before = await threadSeconds(job.qemuPid);
  await new Promise((resolve) => setTimeout(resolve, ms));
  const after = await threadSeconds(job.qemuPid);
  const elapsed = (performance.now() - begin) / 1000;
  const perThread = [...after].map(([thread, seconds]) => seconds - (before.get(thread) ?? 0));
  return { elapsed, perThread, sum: perThread.reduce((a, b) => a + b, 0) };
}

async function threadSeconds(pid: number): Promise<Map<string, number>> {
  const seconds = new Map<string, number>();
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    const stat = await readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8').catch(() => '');
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    const [user = 0, system = 0] = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .slice(11, 13)
      .map(Number);
    if (/^CPU \d+\//.test(name)) seconds.set(thread, (user + system) / TICKS_PER_SECOND);
  }
  return seconds;
}
