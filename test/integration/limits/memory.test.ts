import { beforeAll, describe, expect, it } from 'vitest';

import type { Lab } from '../../lab/host.ts';
import { type BatchSystem, runBatch } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { cancel, JOB_MS, optionsFor, outputOf, startJob } from '../support/machines.ts';

const MiB = 1024 * 1024;
const SYSTEMS: readonly BatchSystem[] = ['slurm', 'gridengine'];

/** The first thing that the job does is to look. */
const LOOK = `#!/bin/bash
while read -r name value _; do case $name in MemAvailable:) echo "available $((value * 1024))";; esac; done </proc/meminfo
echo "limit $(cat /sys/fs/cgroup/caddis/memory.max)"
echo "shared $(($(stat -f -c '%b * %S' /dev/shm)))"
`;

/** Takes 4 MiB every 50 ms and says how much it has; the paced pace leaves the processor to others. */
const HOG = `import sys, time
held = []
while True:
    held.append(bytearray(b'x') * (4 << 20))
    print('held', len(held) * 4, time.time(), flush=True)
    time.sleep(0.05)
`;
const HOGGED = `#!/bin/bash
python3 hog.py
status=$?
echo "after the hog: $status"
exit $status
`;

/**
 * Every 100 ms a tick, in which 8 MiB are touched: what a neighbour would lose if its memory were taken. The ticks go
 * to stdout: what a guest writes on NFS may stay in its page cache for half a minute.
 */
const NEIGHBOUR = `cat >tick.py <<'PY'
import time
memory = bytearray(8 << 20)
print('ready', flush=True)
while True:
    for i in range(0, len(memory), 65536):
        memory[i] = (memory[i] + 1) & 255
    print('%.3f' % time.time(), flush=True)
    time.sleep(0.1)
PY
exec python3 tick.py`;

describe('memory', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await theLab();
  });

  it.each([50, 300, 1024, 3072])(
    'a request of %i MiB is there at the first instruction, and is the wall',
    async (mib) => {
      const results = await Promise.all(
        SYSTEMS.map((system) =>
          runBatch(lab, system, 'vm', {
            script: LOOK,
            options: optionsFor(system, { memory: `${mib}M` }),
            timeoutMs: JOB_MS,
          }),
        ),
      );
      for (const { stdout, stderr, exitCode } of results) {
        expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
        expect(field(stdout, 'available')).toBeGreaterThanOrEqual(mib * MiB);
        expect(field(stdout, 'limit')).toBe(mib * MiB);
        expect(field(stdout, 'shared')).toBe(mib * MiB);
      }
    },
  );

  it('--mem=0 is the whole node, less what the machine needs for itself', async () => {
    const { stdout, stderr, exitCode } = await runBatch(lab, 'slurm', 'vm', {
      script: LOOK,
      options: ['--mem=0'],
      timeoutMs: JOB_MS,
    });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    // The lab's nodes have 6000 MB for jobs, and machines of a little more: 5740 MiB were seen, and 84 fewer where the last block is lost.
    expect(field(stdout, 'available')).toBeGreaterThan(5_680 * MiB);
  });

  it('a job that outgrows its request is killed in its machine, and its neighbour goes on', async () => {
    const [node] = lab.nodes;
    if (!node) throw new Error('the lab has no node');
    const neighbour = await startJob(lab, 'slurm', { node, memory: '100M' }, NEIGHBOUR);
    try {
      const hogs = await Promise.all(
        SYSTEMS.map((system) =>
          runBatch(lab, system, 'vm', {
            script: HOGGED,
            files: { 'hog.py': HOG },
            options: optionsFor(system, { node, memory: '200M' }),
            timeoutMs: JOB_MS,
          }),
        ),
      );
      const ticks = (await outputOf(neighbour, 'out')).trim().split('\n').slice(1).map(Number);
      for (const [i, { stdout, stderr, exitCode }] of hogs.entries()) {
        expect(exitCode, stderr).toBe(137);
        expect(stdout).toContain('after the hog: 137');
        expect(stderr).toMatch(
          /caddis: job's memory limit of 200 MiB \(asked for by .*\) was reached: .*python3.* was killed/,
        );
        expect(stderr).toContain(SYSTEMS[i] === 'slurm' ? '--mem=200M' : 'h_vmem=200M');
        const [, heldMib = 0, diedAt = 0] = (stdout.match(/^held .*$/gm)?.at(-1) ?? '')
          .split(' ')
          .map(Number);
        // The interpreter itself takes some 10 MiB of it.
        expect(heldMib).toBeGreaterThan(170);
        expect(heldMib).toBeLessThanOrEqual(200);
        const around = (from: number, to: number) =>
          ticks.filter((t) => t >= diedAt + from && t < diedAt + to).length;
        const before = around(-3, -1) / 2;
        const during = around(-1, 1.5) / 2.5;
        expect(before, 'ticks a second before the death').toBeGreaterThan(2);
        expect(during, `ticks a second around the death, ${before} before it`).toBeGreaterThan(0.8 * before);
      }
    } finally {
      await cancel(neighbour);
    }
    expect(await outputOf(neighbour, 'err')).not.toContain('memory limit');
  });
});

function field(text: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1]);
}
