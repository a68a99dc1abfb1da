import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { formatKey, type JobKey } from '../model/job.ts';

/**
 * A plain file `<run>/jobs/KEY` with the reason takes the place of the machine's link: SPANK plugin and starter_method fail every step of the job with it, so that nothing
 * starts outside of a machine when a requeue comes late or not at all. The epilog removes it.
 */
export async function writeRefusal(runDir: string, key: JobKey, reason: string): Promise<void> {
  const dir = join(runDir, 'jobs');
  const path = join(dir, formatKey(key));
  await mkdir(dir, { recursive: true, mode: 0o711 });
  // Grid Engine's starter runs as the user and must read it: it says nothing but why that user's job fails.
  await writeFile(`${path}.refused`, `caddis: ${reason.split('\n')[0]}\n`, { mode: 0o644 });
  await rename(`${path}.refused`, path);
}
