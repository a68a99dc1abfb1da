import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { NodeTop } from '../../../src/model/top.ts';
import { startOn, stopOn } from '../../lab/caddisd.ts';
import { daemonLog } from '../../lab/daemons.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
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
/** Where the site lets no job grow while it runs. */
const STILL: Record<BatchSystem, string> = { slurm: 'still', gridengine: 'move.q' };
const CONFIG = `[growth]
enabled = true
shrink_after = 600
queues = { still = { live = false }, "move.q" = { live = false } }
`;

/** Takes more than it has asked for, block by block, and looks at the end whether all of it is as it was. */
const TAKES = `import os, sys, time
blocks = []
for i in range(${HOLDS_MIB} // 4):
    blocks.append(bytearray([i % 251]) * (4 << 20))
    print('holds', 4 * len(blocks), flush=True)
    time.sleep(0.03)
print('limit', open('/sys/fs/cgroup/caddis/memory.max').read().strip(), flush=True)
while not os.path.exists('go'): time.sleep(0.2)
print('whole', all(b.count(i % 251) == 4 << 20 for i, b in enumerate(blocks)), sum(b[-1] for b in blocks))
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
  const SYSTEMS: readonly BatchSystem[] = ['slurm', 'gridengine'];
  beforeAll(async () => {
    lab = await theLab();
    for (const node of lab.nodes) {
      await stopOn(node);
      await startOn(lab, node, CONFIG);
    }
    const nodes = lab.nodes.map(({ name }) => name).join(',');
    await asRoot('scontrol', 'create', `PartitionName=${STILL.slurm}`, `Nodes=${nodes}`);
  });
  afterAll(async () => {
    await asRoot('scontrol', 'delete', `PartitionName=${STILL.slurm}`);
    for (const node of lab.nodes) {
      await stopOn(node);
      await startOn(lab, node);
    }
    await untilNothingLeft(lab);
  });

  it('is grown while it runs, or goes back to the queue for more with its state, and finishes', {
    timeout: TEST_MS,
  }, async () => {
    const [grown, moved] = await Promise.all([
      Promise.all(SYSTEMS.map((system) => start(system, undefined))),
      Promise.all(SYSTEMS.map((system) => start(system, STILL[system]))),
    ]);
    await Promise.all([...grown, ...moved].map((job) => untilSaid(job, 'limit ')));
    const tops = await Promise.all(lab.nodes.map(top));
    for (const job of [...grown, ...moved]) {
      const shown = tops.flatMap(({ jobs }) => jobs).find((one) => one.job === job.key);
      expect(shown?.memory_limit_bytes, job.key).toBeGreaterThan(HOLDS_MIB * MiB);
      expect(shown?.memory_limit_bytes, job.key).toBeLessThanOrEqual(2 * ASKED_MIB * MiB);
      expect(shown?.memory_asked_bytes, job.key).toBe(
        grown.includes(job) ? ASKED_MIB * MiB : shown?.memory_limit_bytes,
      );
    }
    // What their schedulers say of them.
    const said = await Promise.all(
      [...grown, ...moved].map(({ system, id }) =>
        system === 'slurm' ? asRoot('scontrol', '-o', 'show', 'job', id) : asRoot('qstat', '-j', id),
      ),
    );
    expect(said[0]).toMatch(/AdminComment=caddis-grown:memory=\d+m,cpus=1/);
    expect(said[0]).toContain('Restarts=0');
    expect(said[1]).toMatch(/^context:.*caddis_memory=\d+M/m);
    expect(said[2]).toMatch(/MinMemoryNode=300M/);
    expect(said[2]).toContain('Restarts=1');
    expect(said[3]).toMatch(/^hard resource_list:.*vm_mem=300M/m);

    for (const job of [...grown, ...moved]) {
      await asUser(lab, ['touch', join(job.directory, 'go')]);
      expect(await waitForEnd(lab, job.system, job.id, TEST_MS), job.key).toMatchObject({ exitCode: 0 });
      expect(await outputOf(job), job.key).toContain(WHOLE);
      // Each block is told of once.
      const holds = (await outputOf(job)).match(/^holds \d+$/gm);
      expect(holds, job.key).toEqual(BLOCKS.map((_, i) => `holds ${4 * (i + 1)}`));
      const stderr = (await outputOf(job, 'err')).replace(/^slurmstepd(-n\d)?: .*\n/gm, '');
      expect(stderr, job.key).toBe('');
    }
    const log = await logs();
    for (const job of grown)
      expect(log).toMatch(new RegExp(`"grown from 200 MiB.*${job.key}|${job.key}.*grown from 200 MiB`));
    for (const job of moved)
      expect(log).toMatch(
        new RegExp(`back to the queue, to ask for .*${job.key}|${job.key}.*back to the queue, to ask for`),
      );
  });

  async function start(system: BatchSystem, queue: string | undefined): Promise<Taking> {
    const { id, directory } = await submit(lab, system, 'vm', {
      script: '#!/bin/bash\nexec python3 takes.py\n',
      files: { 'takes.py': TAKES },
      ...(queue === undefined ? {} : { queue }),
      options: optionsFor(system, { memory: `${ASKED_MIB}M` }),
    });
    const key = system === 'slurm' ? `slurm-${id}` : `gridengine-${id}.1`;
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

  async function top(node: LabHost): Promise<NodeTop> {
    const command = [process.execPath, join(repository, 'dist/caddis.cjs'), 'top', '--once', '--json'];
    return JSON.parse(await on(node, command)) as NodeTop;
  }

  async function logs(): Promise<string> {
    const texts = lab.nodes.map(({ name }) => readFile(daemonLog(name, 'caddisd'), 'utf8'));
    return (await Promise.all(texts)).join('\n');
  }
});
