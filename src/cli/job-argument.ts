import { DEFAULT_CONFIG_PATH, loadConfig } from '../config/load.ts';
import { CaddisError, messageOf } from '../model/errors.ts';
import { type JobKey, parseKey } from '../model/job.ts';
import { rawIdOf } from '../scheduler/slurm/array-task.ts';
import { createRunCommand } from '../scheduler/slurm/commands.ts';

/** For yargs' `positional('job', ...)`. */
export const JOB_ARGUMENT = {
  type: 'string',
  demandOption: true,
  describe: 'slurm-17, gridengine-12.1, 17, 17_3, 12.1',
} as const;

const ASK_MS = 10_000;

/**
 * A job as people write it: `12.1` can only be Grid Engine's; a bare number is taken for Slurm's; `12_3`, a task of an array as squeue has it, is looked up there. Throws CaddisError.
 */
export async function jobOf(text: string, config = DEFAULT_CONFIG_PATH): Promise<JobKey> {
  const task = /^(?:slurm-)?(\d+_\d+)$/.exec(text)?.[1];
  if (task !== undefined) return { scheduler: 'slurm', jobId: await askRawId(task, config), task: '0' };
  const candidate = /^\d+$/.test(text)
    ? `slurm-${text}`
    : /^\d+\.\d+$/.test(text)
      ? `gridengine-${text}`
      : text;
  const key = parseKey(candidate);
  if (key) return key;
  throw new CaddisError(
    `"${text}" is no job: write slurm-17, gridengine-12.1, 17, 17_3, 12.1, or what "caddis status" shows`,
  );
}

async function askRawId(task: string, path: string): Promise<string> {
  const { slurm } = loadConfig(path);
  const run = createRunCommand(slurm.bin_dir, slurm.environment);
  const id = await rawIdOf(task, run, AbortSignal.timeout(ASK_MS)).catch((error: unknown) => {
    throw new CaddisError(
      `cannot ask Slurm which job ${task} is: ${messageOf(error).split('\n')[0]}; "caddis status" has the job's own number`,
    );
  });
  if (id === undefined) throw new CaddisError(`Slurm knows no task ${task}`);
  return id;
}
