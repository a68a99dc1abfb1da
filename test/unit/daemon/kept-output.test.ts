import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { Manifest } from '../../../src/checkpoint/manifest-schema.ts';
import type { Job } from '../../../src/daemon/job.ts';
import type { Checkpoints } from '../../../src/daemon/moving/checkpoints.ts';
import { giveUpKept, keepOutput } from '../../../src/daemon/moving/kept-output.ts';

let dir: string;
let out: string;
const kept = () => `${out}.caddis-slurm-17`;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'caddis-kept-'));
  out = join(dir, 'out');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const warned: string[] = [];
const job = {
  key: { scheduler: 'slurm', jobId: '17', task: '0' },
  scheduler: { truncatesOutput: true },
  identity: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, groups: [process.getgid?.() ?? 0] },
  log: { warn: (text: string) => warned.push(text) },
} as unknown as Job;

function sessions(): Manifest['sessions'] {
  return [{ streams: { stdout: { file: { path: out, length: '4' } } } }] as unknown as Manifest['sessions'];
}

const checkpoints = {
  store: { generations: async () => [{ state: 'complete', manifest: { sessions: sessions() } }] },
} as unknown as Checkpoints;

describe('output that was moved aside for a restore which did not come to its end', () => {
  it('is not taken for that of a run that has started afresh since', async () => {
    await writeFile(out, 'old\nold\n');
    await keepOutput(job, sessions());
    // slurmd makes a new file for the fresh start.
    await writeFile(out, 'new\n');
    await giveUpKept(job, checkpoints);
    expect(await readdir(dir)).toEqual(['out']);
    await keepOutput(job, sessions());
    expect(await readFile(kept(), 'utf8')).toBe('new\n');
    expect(warned).toEqual([]);
  });

  it('is the output file again for a fresh start, which truncates or appends as its user wants', async () => {
    await writeFile(out, 'old\n');
    await keepOutput(job, sessions());
    expect(await readdir(dir)).toEqual(['out.caddis-slurm-17']);
    await giveUpKept(job, checkpoints);
    expect(await readdir(dir)).toEqual(['out']);
    expect(await readFile(out, 'utf8')).toBe('old\n');
  });

  it('stays for the next try of the same restore', async () => {
    await writeFile(out, 'old\n');
    await keepOutput(job, sessions());
    await writeFile(out, '');
    await keepOutput(job, sessions());
    expect(await readFile(kept(), 'utf8')).toBe('old\n');
  });
});
