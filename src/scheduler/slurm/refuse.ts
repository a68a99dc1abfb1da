import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { messageOf } from '../../model/errors.ts';
import { formatKey, type JobRequest } from '../../model/job.ts';
import type { HookAnswer } from '../scheduler.ts';
import type { RunCommand } from './commands.ts';
import { requeue } from './requeue.ts';

/**
 * Puts the job back, or lets it fail with the reason. Either way the prolog answers 0 (anything else drains the node and holds the job), and a plain file
 * with the reason takes the place of the machine's link: the SPANK plugin fails every step with it, so that nothing starts outside of a machine when the
 * requeue comes late or not at all. The epilog removes the file.
 */
export async function refuse(
  request: JobRequest,
  reason: string,
  { runDir, node, run, signal }: { runDir: string; node: string; run: RunCommand; signal: AbortSignal },
): Promise<HookAnswer> {
  await writeRefusal(runDir, request, `caddis: ${reason}`);
  try {
    await requeue(request.key, node, signal, run);
    return { exitCode: 0 };
  } catch (error) {
    return { exitCode: 0, stderr: `caddis: not requeued: ${messageOf(error)}\n` };
  }
}

async function writeRefusal(runDir: string, request: JobRequest, text: string): Promise<void> {
  const dir = join(runDir, 'jobs');
  const path = join(dir, formatKey(request.key));
  await mkdir(dir, { recursive: true, mode: 0o711 });
  await writeFile(`${path}.refused`, `${text.split('\n')[0]}\n`, { mode: 0o600 });
  await rename(`${path}.refused`, path);
}
