import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { JobKey } from '../../model/job.ts';
import type { Usage } from '../../model/usage.ts';

/**
 * Puts a run's true usage into the file that sge_shepherd wrote of its idle client, and that sge_execd reads when the epilog has ended: qacct's cpu is the larger of ru_utime +
 * ru_stime and what sge_execd counted itself. mem, io and maxvmem it takes from its own watch alone (reaper_execd.c, build_derived_final_usage): no file changes them.
 * `spoolDir`: this host's directory in execd_spool_dir.
 */
export async function writeUsage(spoolDir: string, key: JobKey, run: Usage): Promise<void> {
  const path = join(spoolDir, 'active_jobs', `${key.jobId}.${key.task}`, 'usage');
  const text = withUsage(await readFile(path, 'utf8'), run);
  // sge_execd must not find half of it, should it look at its jobs afresh just now.
  await writeFile(`${path}.caddis`, text, { mode: 0o644 });
  await rename(`${path}.caddis`, path);
}

/** The shepherd's lines, `name=value`, with the machine's numbers: seconds, and KiB as in getrusage(2). */
export function withUsage(text: string, { userMs, systemMs, heldPeakBytes }: Usage): string {
  const ours = new Map([
    ['ru_utime', (userMs / 1000).toFixed(6)],
    ['ru_stime', (systemMs / 1000).toFixed(6)],
    ['ru_maxrss', String(Math.ceil(heldPeakBytes / 1024))],
  ]);
  const others = text.split('\n').filter((line) => line !== '' && !ours.has(line.split('=')[0] as string));
  return `${[...others, ...[...ours].map(([name, value]) => `${name}=${value}`)].join('\n')}\n`;
}
