import { existsSync } from 'node:fs';
import { join } from 'node:path';

import type { Lab, LabScheduler } from './host.ts';

/** caddisd on the nodes, as test/lab/caddisd.ts gives it. */
export interface LabCaddisd {
  start(lab: Lab): Promise<void>;
  stop(lab: Lab): Promise<void>;
}

/** The batch systems of the lab. */
export async function schedulers(): Promise<LabScheduler[]> {
  const loaded = await Promise.all([
    load<LabScheduler>('slurm.ts', 'slurm'),
    load<LabScheduler>('gridengine.ts', 'gridengine'),
  ]);
  return loaded.filter((scheduler) => scheduler !== undefined);
}

export async function caddisd(): Promise<LabCaddisd | undefined> {
  return await load<LabCaddisd>('caddisd.ts', 'caddisd');
}

/** By name, so that the lab comes up with the parts that are there. */
async function load<T>(file: string, name: string): Promise<T | undefined> {
  const path = join(import.meta.dirname, file);
  if (!existsSync(path)) return undefined;
  const module = (await import(path)) as Record<string, T | undefined>;
  if (!module[name]) throw new Error(`${path} must export "${name}"`);
  return module[name];
}
