import { open, readdir, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';

import type { Lab } from '../../lab/host.ts';
import type { CountingJob } from './counting-job.ts';
import type { Variant } from './variant.ts';

/** Just published: the next node may have the job when the save goes on. */
const BETWEEN = 'rename generation';

type Damage = (path: string, bytes: number) => Promise<void>;

const damages: Readonly<Record<string, Damage>> = {
  'its last 4 KiB cut off': (path, bytes) => truncate(path, Math.max(0, bytes - 4096)),
  'half of it cut off': (path, bytes) => truncate(path, Math.floor(bytes / 2)),
  'all of it cut off': (path) => truncate(path, 0),
  removed: (path) => rm(path),
  'a bit flipped at its begin': (path) => flip(path, 21),
  'a bit flipped in the middle': (path, bytes) => flip(path, Math.floor(bytes / 2)),
  'a bit flipped at its end': (path, bytes) => flip(path, bytes - 1),
};

/** The newest checkpoint decays between save and restore: it must be refused by name, never restored. */
export function damageVariants(lab: Lab): Variant[] {
  return ['memory', 'scratch', 'manifest.json'].flatMap((file) =>
    Object.entries(damages).map(
      ([what, damage]): Variant => ({
        kind: `${file} is damaged between save and restore`,
        what,
        ...{ side: 'save', point: BETWEEN, nth: 1, act: 'hold', delayMs: 0 },
        keeps: false,
        loses: true,
        besides: async (_host, job) => {
          const path = join(await newestGeneration(lab, job), file);
          await damage(path, (await stat(path)).size);
          return undefined;
        },
      }),
    ),
  );
}

async function flip(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 0x10;
    await file.write(byte, 0, 1, at);
  } finally {
    await file.close();
  }
}

async function newestGeneration(lab: Lab, { key }: CountingJob): Promise<string> {
  const generations = join(lab.paths.store, 'jobs', key, 'generations');
  const numbers = (await readdir(generations)).map(Number).filter(Number.isInteger);
  return join(generations, String(Math.max(...numbers)));
}
