import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { JobTop, NodeTop } from '../../../src/model/top.ts';
import { startOn, stopOn } from '../../lab/caddisd.ts';
import type { Lab } from '../../lab/host.ts';
import { repository } from '../../lab/layout.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, submit, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import { optionsFor, outputOf } from '../support/machines.ts';

const MiB = 1024 * 1024;
const TEST_MS = 240_000;
const ASKED_MIB = 200;
const HOLDS_MIB = 248;
/** Partition or queue where the site lets no job grow while it runs; and one where it is told instead. */
const STILL: Record<BatchSystem, string> = { slurm: 'still', gridengine: 'move.q' };
const TOLD = 'told';
const CONFIG = `[growth]
enabled = true
shrink_after = 8
queues = { still = { live = false }, "move.q" = { live = false }, told = { live = false, on_no_room = "signal" } }
`;

/**
 * Takes more than it has asked for, block by block, and looks at the end whether all of it is as it was. With a word it gives all of it back then, and stays; a signal ends it.
 */
const TAKES = `import os, signal, sys, time
blocks = []
def told(*_):
    print('told with', 4 * len(blocks), flush=True)
    os._exit(0)
signal.signal(signal.SIGUSR1, told)
for i in range(${HOLDS_MIB} // 4):
    blocks.append(bytearray([i % 251]) * (4 << 20))
    print('holds', 4 * len(blocks), flush=True)
    time.sleep(0.03)
print('limit', open('/sys/fs/cgroup/caddis/memory.max').read().strip(), flush=True)
while not os.path.exists('go'): time.sleep(0.2)
print('whole', all(b.count(i % 251) == 4 << 20 for i, b in enumerate(blocks)), sum(b[-1] for b in blocks), flush=True)
if len(sys.argv) > 1:
    del blocks
    while not os.path.exists('end'): time.sleep(0.2)
    print('limit', open('/sys/fs/cgroup/caddis/memory.max').read().strip(), flush=True)
`;
const BLOCKS = Array.from({ length: Math.floor(HOLDS_MIB / 4) }, (_, i) => i % 251);
const WHOLE = `whole True ${BLOCKS.reduce((sum, value) => sum + value, 0)}`;

interface Taking {
  readonly system: BatchSystem;
  readonly id: string;
  readonly key: string;
  readonly directory: string;
}

describe('a job that outgrows its request', () => {
  let lab: Lab;
  const started: Taking[] = [];
  const SYSTEMS: readonly BatchSystem[] = ['slurm', 'gridengine'];
  beforeAll(async () => {
    lab = await theLab();
    for (const node of lab.nodes) {
      await stopOn(node);
      await startOn(lab, node, CONFIG);
    }
    const nodes = lab.nodes.map(({ name }) => name).join(',');
    for (const name of [STILL.slurm, TOLD])
      await asRoot('scontrol', 'create', `PartitionName=${name}`, `Nodes=${nodes}`);
  });
  afterAll(async () => {
    // Those that a failure has left.
    for (const { system, id } of started)
      await asUser(lab, system === 'slurm' ? ['scancel', id] : ['qdel', id], { user: 'root' });
    for (const { system, id } of started) await waitForEnd(lab, system, id, TEST_MS);
    for (const name of [STILL.slurm, TOLD]) await asRoot('scontrol', 'delete', `PartitionName=${name}`);
    for (const node of lab.nodes) {
      await stopOn(node);
      await startOn(lab, node);
    }
    await untilNothingLeft(lab);
  });

  it('is grown while it runs, or goes back to the queue for more with its state, or is told; and shrinks', {
    timeout: TEST_MS,
  }, async () => {
    const grown = await Promise.all(SYSTEMS.map((system) => start(system, undefined, 'stays')));
    const moved = await Promise.all(SYSTEMS.map((system) => start(system, STILL[system])));
    const told = await start('slurm', TOLD);
    const jobs = [...grown, ...moved];
    await Promise.all(jobs.map((job) => untilSaid(job, 'limit ')));
    const shown = await inTop(jobs);
    for (const [i, job] of jobs.entries()) {
      const limit = shown[i]?.memory_limit_bytes ?? 0;
      expect(limit, job.key).toBeGreaterThan(HOLDS_MIB * MiB);
      expect(limit, job.key).toBeLessThanOrEqual(2 * ASKED_MIB * MiB);
      expect(shown[i]?.memory_asked_bytes, job.key).toBe(grown.includes(job) ? ASKED_MIB * MiB : limit);
    }
    const [slurmGrown, gridEngineGrown, slurmMoved, gridEngineMoved] = await Promise.all(jobs.map(said));
    expect(slurmGrown).toMatch(/AdminComment=caddis-grown:memory=\d+m,cpus=1/);
    expect(slurmGrown).toContain('Restarts=0');
    expect(gridEngineGrown).toMatch(/^context:.*caddis_memory=\d+M/m);
    // How much more it asks for depends on how fast it grew: half as much again at least, and what the site allows at most.
    for (const asked of [
      slurmMoved?.match(/ MinMemoryNode=(\d+)M/)?.[1],
      gridEngineMoved?.match(/^hard resource_list:.*vm_mem=(\d+)M/m)?.[1],
    ]) {
      expect(Number(asked)).toBeGreaterThanOrEqual(1.5 * ASKED_MIB);
      expect(Number(asked)).toBeLessThanOrEqual(2 * ASKED_MIB);
    }
    expect(slurmMoved).toContain('Restarts=1');

    await Promise.all(jobs.map(({ directory }) => asUser(lab, ['touch', join(directory, 'go')])));
    await until(
      'what was grown to be taken back',
      async () => (await inTop(grown)).every((job) => job?.memory_limit_bytes === ASKED_MIB * MiB),
      { timeoutMs: TEST_MS, everyMs: 1000 },
    );
    await Promise.all(grown.map(({ directory }) => asUser(lab, ['touch', join(directory, 'end')])));
    for (const job of jobs) {
      expect(await waitForEnd(lab, job.system, job.id, TEST_MS), job.key).toMatchObject({ exitCode: 0 });
      const out = await outputOf(job);
      expect(out, job.key).toContain(WHOLE);
      // Each block is told of once.
      expect(out.match(/^holds \d+$/gm), job.key).toEqual(BLOCKS.map((_, i) => `holds ${4 * (i + 1)}`));
      if (grown.includes(job)) expect(out.trim().split('\n').at(-1)).toBe(`limit ${ASKED_MIB * MiB}`);
      expect(await stderrOf(job), job.key).toBe('');
    }
    expect(await waitForEnd(lab, 'slurm', told.id, TEST_MS)).toMatchObject({ exitCode: 0 });
    expect(await outputOf(told)).toMatch(/^told with 1[6-9]\d$/m);
    expect(await stderrOf(told)).toMatch(
      /^caddis: this job holds 1\d\d(\.\d)? MiB of the 200 MiB of memory that it may have: it gets SIGUSR1\n$/,
    );
  });

  async function start(system: BatchSystem, queue?: string, word = ''): Promise<Taking> {
    const { id, directory } = await submit(lab, system, 'vm', {
      script: `#!/bin/bash\nexec python3 takes.py ${word}\n`,
      files: { 'takes.py': TAKES },
      ...(queue === undefined ? {} : { queue }),
      options: optionsFor(system, { memory: `${ASKED_MIB}M` }),
    });
    const key = system === 'slurm' ? `slurm-${id}` : `gridengine-${id}.1`;
    started.push({ system, id, directory, key });
    return { system, id, directory, key };
  }

  function untilSaid(job: Taking, text: string): Promise<unknown> {
    return until(
      `${job.key} to say "${text}" in ${job.directory}`,
      async () => (await outputOf(job)).includes(text),
      { timeoutMs: TEST_MS, everyMs: 300 },
    );
  }

  async function asRoot(...command: string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await asUser(lab, command, { user: 'root' });
    if (exitCode !== 0) throw new Error(`${command.join(' ')} ended with ${exitCode}: ${stdout}${stderr}`);
    return stdout;
  }

  async function inTop(jobs: readonly Taking[]): Promise<(JobTop | undefined)[]> {
    const command = [process.execPath, join(repository, 'dist/caddis.cjs'), 'top', '--once', '--json'];
    const tops = await Promise.all(
      lab.nodes.map(async (node) => JSON.parse(await on(node, command)) as NodeTop),
    );
    const all = tops.flatMap((one) => one.jobs);
    return jobs.map(({ key }) => all.find(({ job }) => job === key));
  }

  /** What its scheduler says of it. */
  function said({ system, id }: Taking): Promise<string> {
    return system === 'slurm' ? asRoot('scontrol', '-o', 'show', 'job', id) : asRoot('qstat', '-j', id);
  }

  /** Slurm has words of its own about the end of a run. */
  async function stderrOf(job: Taking): Promise<string> {
    return (await outputOf(job, 'err')).replace(/^slurmstepd(-n\d)?: .*\n/gm, '');
  }
});
