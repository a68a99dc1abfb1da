import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { cellOf } from '../../lab/gridengine/cell.ts';
import type { Lab } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, jobDirectory, submit, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import { type Counting, left, MOVE_MS, must, whereIs } from './support.ts';

/** Waits in its first run, and ends in its second. */
const SCRIPT = `#!/bin/bash
echo run >> runs
echo "run $(wc -l < runs)"
[ "$(wc -l < runs)" = 2 ] || sleep 300
`;
const ON_TWO = { slurm: ['-N', '2', '--mem=100M'], gridengine: ['-pe', 'mpi', '2', '-l', 'h_vmem=100M'] };

describe('a job on several hosts', () => {
  let lab: Lab;
  const root = (...command: string[]) => must(asUser(lab, command, { user: 'root' }));
  beforeAll(async () => {
    lab = await theLab();
  });
  afterEach(() => untilNothingLeft(lab));

  it('has its user told at submission that it will start afresh', async () => {
    const cwd = await jobDirectory(lab);
    const jsv = `script:${join(cellOf(lab).hooks, 'jsv')}`;
    const sbatch = ['sbatch', '-H', '-N', '2', '--wrap', 'true'];
    const qsub = ['qsub', '-h', '-pe', 'mpi', '2', '-b', 'y', 'true'];
    const said = await must(asUser(lab, ['sh', '-c', '"$@" 2>&1', 'sh', ...sbatch], { cwd }));
    expect(said).toMatch(/caddis: this job runs on 2 nodes, .* if it is requeued it starts afresh/);
    const client = await must(asUser(lab, [...qsub.slice(0, 1), '-jsv', jsv, ...qsub.slice(1)], { cwd }));
    expect(client).toMatch(/caddis: -pe mpi may spread this job over several hosts, .* it starts afresh/);
    // Without a JSV of its own a client cannot be told: the job is.
    const { stdout } = await asUser(lab, [...qsub.slice(0, 1), '-terse', ...qsub.slice(1)], { cwd });
    const note = await must(asUser(lab, ['qstat', '-j', stdout.trim()]));
    expect(note).toMatch(/^context:\s+caddis=-pe_mpi_may_spread_this_job_over_several_hosts/m);
    const one = await must(
      asUser(lab, ['sh', '-c', '"$@" 2>&1', 'sh', 'sbatch', '-H', '--wrap', 'true'], { cwd }),
    );
    expect(one).not.toContain('caddis');
    await asUser(lab, ['scancel', '-u', 'alice', '--state=PENDING']);
    await asUser(lab, ['qdel', '-u', 'alice']);
  });

  it.concurrent.each<BatchSystem>(['slurm', 'gridengine'])(
    'starts afresh when it is put back, says so, and leaves no half of itself: %s',
    { timeout: 3 * MOVE_MS },
    async (system) => {
      const job = await start(system);
      const { here } = await whereIs(lab, job);
      const caddis = (...words: string[]) => on(here, [process.execPath, 'dist/caddis.cjs', ...words]);
      for (const verb of ['migrate', 'checkpoint'])
        await expect(caddis(verb, job.key)).rejects.toThrow(
          /it runs on 2 hosts, whose machines cannot be saved as one/,
        );
      if (system === 'slurm') await root('scontrol', 'requeue', job.id);
      else await root('qmod', '-sj', job.id);
      expect(await waitForEnd(lab, system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
      const { stdout, stderr } = await left(job);
      expect(stdout).toMatch(/run 2\n$/);
      expect(stderr).toContain('caddis: this job starts afresh: it runs on 2 hosts');
      expect(await readFile(join(job.directory, 'runs'), 'utf8')).toBe('run\nrun\n');
      const saved = await caddis('checkpoints', 'list', job.key, '--json', '--dir', lab.paths.store);
      expect(JSON.parse(saved)).toEqual({ checkpoints: [] });
    },
  );

  async function start(system: BatchSystem): Promise<Counting> {
    const { id, directory } = await submit(lab, system, 'vm', {
      script: SCRIPT,
      options: ON_TWO[system],
      ...(system === 'gridengine' ? { queue: 'move.q' } : {}),
    });
    const job = { system, id, directory, key: system === 'slurm' ? `slurm-${id}` : `gridengine-${id}.1` };
    await until(`${job.key} to run`, async () => (await left(job)).stdout.includes('run 1\n'), {
      timeoutMs: MOVE_MS,
    });
    return job;
  }
});
