import { CaddisError } from '../model/errors.ts';
import { type JobKey, parseKey } from '../model/job.ts';

/** For yargs' `positional('job', ...)`. */
export const JOB_ARGUMENT = {
  type: 'string',
  demandOption: true,
  describe: 'slurm-17, gridengine-12.1, 17, 12.1',
} as const;

/** A job as people write it: `12.1` can only be Grid Engine's; a bare number is taken for Slurm's. Throws CaddisError. */
export function jobOf(text: string): JobKey {
  const candidate = /^\d+$/.test(text)
    ? `slurm-${text}`
    : /^\d+\.\d+$/.test(text)
      ? `gridengine-${text}`
      : text;
  const key = parseKey(candidate);
  if (key) return key;
  throw new CaddisError(
    `"${text}" is no job: write slurm-17, gridengine-12.1, or what "caddis status" shows`,
  );
}
