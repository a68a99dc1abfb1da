import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { cellOf } from '../../lab/gridengine/cell.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import { asUser, type BatchSystem, jobDirectory, submit, waitForEnd } from '../support/batch.ts';
import { theLab } from '../support/lab.ts';
import { untilNothingLeft } from '../support/leftovers.ts';
import { type Counting, left, MOVE_MS, machineOf, must, whereIs } from './support.ts';

/** Does `first` in its first run, and ends in its second. */
const script = (first: string) => `#!/bin/bash
echo run >> runs
echo "run $(wc -l < runs)"
[ "$(wc -l < runs)" = 2 ] || ${first}
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

  it.concurrent('starts afresh when it is put back, says so, and leaves no half of itself: Slurm', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const job = await start('slurm', 'sleep 300');
    await cannotBeMoved(job);
    await root('scontrol', 'requeue', job.id);
    await hasStartedAfresh(job);
  });

  it.concurrent('leaves its hosts when it is to be moved, and no half of itself: Grid Engine', {
    timeout: 3 * MOVE_MS,
  }, async () => {
    const job = await start('gridengine', 'sleep 300');
    const { here } = await cannotBeMoved(job);
    await root('qmod', '-sj', job.id);
    // The qmaster starts it on other hosts than these ("until clean up of a previous run has finished"): the lab has none.
    await until(
      'it to wait in its queue',
      async () => /\sRq\s/.test((await asUser(lab, ['qstat'])).stdout) && !(await machineOf(here, job)),
      { timeoutMs: MOVE_MS, everyMs: 500 },
    );
    expect(await checkpointsOf(here, job)).toEqual([]);
    await root('qdel', job.id);
  });

  async function cannotBeMoved(job: Counting): Promise<{ here: LabHost }> {
    const { here } = await whereIs(lab, job);
    for (const verb of ['migrate', 'checkpoint'])
      await expect(caddis(here, verb, job.key)).rejects.toThrow(
        /it runs on 2 hosts, whose machines cannot be saved as one/,
      );
    return { here };
  }

  async function hasStartedAfresh(job: Counting): Promise<void> {
    expect(await waitForEnd(lab, job.system, job.id, MOVE_MS)).toMatchObject({ exitCode: 0 });
    const { stdout, stderr } = await left(job);
    expect(stdout).toMatch(/run 2\n$/);
    expect(stderr).toContain('caddis: this job starts afresh: it runs on 2 hosts');
    expect(await readFile(join(job.directory, 'runs'), 'utf8')).toBe('run\nrun\n');
    expect(await checkpointsOf(lab.nodes[0] as LabHost, job)).toEqual([]);
  }

  async function checkpointsOf(node: LabHost, { key }: Counting): Promise<unknown[]> {
    const text = await caddis(node, 'checkpoints', 'list', key, '--json', '--dir', lab.paths.store);
    return (JSON.parse(text) as { checkpoints: unknown[] }).checkpoints;
  }

  function caddis(node: LabHost, ...words: string[]): Promise<string> {
    return on(node, [process.execPath, 'dist/caddis.cjs', ...words]);
  }

  async function start(system: BatchSystem, first: string): Promise<Counting> {
    const { id, directory } = await submit(lab, system, 'vm', {
      script: script(first),
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
