import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import winston from 'winston';

import { renderExplanation } from '../../../src/cli/explain.ts';
import { Deeds } from '../../../src/daemon/pressure/deeds.ts';

const log = winston.createLogger({ silent: true });
const deed = (job: string, n: number) => ({
  job,
  what: 'freeze',
  why: `reason ${n}`,
  numbers: { left_bytes: n },
});

describe('the record of what was done for owners', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'caddis-deeds-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  it('is there for the next caddisd, whatever a crash has torn', async () => {
    const first = new Deeds(dir, log);
    first.note(deed('slurm-1', 1));
    first.note(deed('slurm-2', 2));
    await first.all();
    const path = join(dir, 'give-back.jsonl');
    await writeFile(path, `${await readFile(path, 'utf8')}{"at":"2026`);
    const next = new Deeds(dir, log);
    expect((await next.all()).map(({ why }) => why)).toEqual(['reason 1', 'reason 2']);
    expect(await next.all('slurm-2')).toMatchObject([deed('slurm-2', 2)]);
  });

  it('does not grow beyond its bound, and keeps the newest', async () => {
    const deeds = new Deeds(dir, log);
    const why = 'x'.repeat(8 * 1024);
    for (let n = 1; n <= 100; n++) deeds.note({ ...deed('slurm-1', n), why });
    const kept = await deeds.all();
    expect(kept.at(-1)?.numbers).toEqual({ left_bytes: 100 });
    expect(kept.length).toBeGreaterThan(30);
    for (const name of ['give-back.jsonl', 'give-back.jsonl.1'])
      expect((await stat(join(dir, name))).size).toBeLessThan(280 * 1024);
  });
});

describe('caddis explain', () => {
  it('says it in words, with the units of the numbers', () => {
    const text = renderExplanation({
      ...{ host: 'n1', job: 'slurm-7' },
      now: {
        ...{ at: '2026-01-02T03:04:05.678Z', why: 'owners do not grow, with 4 GiB left' },
        numbers: { left_bytes: 4 * 1024 ** 3, until_short_ms: 2500, node_cpus: 4 },
        ...{ save_bytes_per_second: 80 * 1024 ** 2, store_trouble: 'it is full' },
      },
      borrowers: [
        {
          ...{ job: 'slurm-7', phase: 'frozen', standing: 'pressed', weight: 'least' as const },
          ...{ resident_bytes: 300 * 1024 ** 2, balloon_bytes: 0, reclaimable_bytes: 0, priority: 12 },
          unsavable: null,
        },
      ],
      history: [{ at: '2026-01-02T03:04:00.000Z', ...deed('slurm-7', 1024) }],
    });
    expect(text.split('\n')).toEqual([
      'n1, 2026-01-02 03:04:05Z: owners do not grow, with 4 GiB left',
      '  left 4 GiB, until short 2.5 s, node 4 CPUs, save 80 MiB/s',
      '  nothing can be saved: it is full',
      '',
      'slurm-7 is frozen for its owners, 300 MiB of memory, least CPU weight, priority 12',
      '',
      '2026-01-02 03:04:00Z slurm-7 freeze: reason 1024',
      '    left 1 KiB',
    ]);
  });

  it('says that nothing was done', () => {
    const nothing = { host: 'n1', now: null, borrowers: [], history: [] };
    expect(renderExplanation(nothing)).toContain('nothing was done on this node');
    expect(renderExplanation({ ...nothing, job: 'slurm-1' })).toContain(
      'slurm-1 does not run here in lent space',
    );
  });
});
