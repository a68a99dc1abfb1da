import { describe, expect, it } from 'vitest';

import { ageText, asJson, details, wideTable } from '../../../src/cli/checkpoint-report.ts';
import { jobOf } from '../../../src/cli/job-argument.ts';
import { rawIdOf } from '../../../src/scheduler/slurm/array-task.ts';
import { newWorld, STORE, save } from '../../fault/store/world.ts';

describe('checkpoints in a table', () => {
  it('have their place, and say why they would be refused', async () => {
    const { io, store } = await newWorld();
    await save(store, 'a');
    await save(store, 'b');
    io.damage(`${STORE}/jobs/slurm-4711/generations/2/manifest.json`, Buffer.from('{'));
    const found = (await store.list()).map((one) => ({ ...one, ageMs: one.ageMs && 3_600_000 * 5 }));
    const lines = wideTable(found).split('\n');
    expect(lines[1]).toBe('slurm-4711  1           5h   n1    ada   requeue  8.8 KiB  8.5 KiB  complete');
    expect(lines[2]).toMatch(/^slurm-4711 {2}2 .* refused: .*generations\/2\/manifest.json: torn/);
    expect(found.map(asJson)).toMatchObject([
      {
        job: 'slurm-4711',
        generation: 1,
        state: 'complete',
        refusal: null,
        memory_bytes: 9000,
        age_seconds: 18_000,
      },
      { generation: 2, state: 'refused', host: null, memory_bytes: null },
    ]);
    expect(details(found[0] as (typeof found)[0], undefined)).toMatch(/claimed by +nobody/);
  });

  it('have an age that a person can read', () => {
    expect([0, 119_000, 120_000, 7_199_000, 7_200_000, 200_000_000].map(ageText)).toEqual([
      '0s',
      '119s',
      '2m',
      '119m',
      '2h',
      '2d',
    ]);
  });
});

describe('a job on the command line', () => {
  it('is written in full or by its number', async () => {
    expect(await jobOf('17')).toEqual({ scheduler: 'slurm', jobId: '17', task: '0' });
    expect(await jobOf('12.1')).toEqual(await jobOf('gridengine-12.1'));
    await expect(jobOf('../17')).rejects.toThrow(/is no job/);
  });

  it("of a Slurm array is looked up where squeue's users have its name from", async () => {
    const signal = AbortSignal.timeout(1_000);
    const asked: string[] = [];
    const slurm = (squeue: string, sacct: string) => (argv: readonly string[]) => {
      asked.push(argv.join(' '));
      const said = argv[0] === 'squeue' ? squeue : sacct;
      return said === 'no' ? Promise.reject(new Error('Invalid job id specified')) : Promise.resolve(said);
    };
    expect(await rawIdOf('12_3', slurm('15\n', 'no'), signal)).toBe('15');
    expect(asked).toEqual(['squeue -h -a -j 12_3 -o %A']);
    expect(await rawIdOf('12_3', slurm('no', '15\n15\n'), signal)).toBe('15');
    expect(await rawIdOf('12_3', slurm('', ''), signal)).toBeUndefined();
    await expect(rawIdOf('12_3', slurm('no', 'no'), signal)).rejects.toThrow('Invalid');
  });
});
