import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import type { AdvisedJob } from '../../../src/model/usage.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { repository } from '../../lab/layout.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, runBatch } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { optionsFor } from '../support/machines.ts';

const MiB = 1024 * 1024;
/** Allocates, then spins in two processes until each has used 2.5 s. */
const BURNS = `#!/bin/bash
python3 -c "held = bytearray(b'x') * (120 << 20)"
burn='import time
while time.process_time() < 2.5: pass'
python3 -c "$burn" & python3 -c "$burn"; wait`;
const BURNT_SECONDS = 5;
const CADDIS = [process.execPath, join(repository, 'dist/caddis.cjs')];

describe('what a job really used', () => {
  let lab: Lab;
  let node: LabHost;

  beforeAll(async () => {
    lab = await theLab();
    node = lab.nodes[0] as LabHost;
  });

  const burn = (system: BatchSystem) =>
    runBatch(lab, system, 'vm', {
      script: BURNS,
      options: optionsFor(system, { node, memory: '700M', cpus: 2 }),
    });
  const field = (text: string, name: string) => new RegExp(`^${name}\\s+(\\S+)`, 'm').exec(text)?.[1] ?? '';

  it('is in qacct', async () => {
    const job = await burn('gridengine');
    expect(job).toMatchObject({ exitCode: 0, stderr: '' });
    const { stdout } = await asUser(lab, ['qacct', '-j', job.id]);
    const cpu = Number.parseFloat(field(stdout, 'cpu'));
    expect(cpu).toBeGreaterThan(BURNT_SECONDS);
    expect(cpu).toBeLessThan(BURNT_SECONDS + 5);
    console.log(stdout);
  });

  it('is in the AdminComment of sacct', async () => {
    const job = await burn('slurm');
    expect(job).toMatchObject({ exitCode: 0, stderr: '' });
    const said = await until(
      'caddis: in AdminComment',
      async () => {
        const { stdout } = await asUser(lab, ['sacct', '-n', '-X', '-P', '-j', job.id, '-o', 'AdminComment']);
        return stdout.includes('caddis:') && stdout;
      },
      { timeoutMs: 40_000, everyMs: 500 },
    );
    console.log(said);
    const { stdout } = await asUser(lab, [...CADDIS, 'advise'], { host: node.name });
    console.log(stdout);
    console.log(await on(node, [...CADDIS, 'advise', '--json']));
    console.log(await asUser(lab, [...CADDIS, 'advise'], { host: node.name, user: 'bob' }));
    console.log(await asUser(lab, [...CADDIS, 'advise', 'alice'], { host: node.name, user: 'bob' }));
  });

  it('ends it at h_cpu, all its processes together', async () => {
    const script = `#!/bin/bash\npython3 -c 'while True: pass' & python3 -c 'while True: pass'`;
    const seen = await Promise.all(
      (['native', 'vm'] as const).map((where) =>
        runBatch(lab, 'gridengine', where, {
          script,
          options: ['-l', `h_cpu=6,hostname=${where === 'vm' ? node.name : 'n2'}`],
        }),
      ),
    );
    console.log(seen);
    for (const { id } of seen) console.log((await asUser(lab, ['qacct', '-j', id])).stdout);
  });
});
