import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { execa } from 'execa';
import type { CommandModule } from 'yargs';

import { CaddisError } from '../model/errors.ts';
import { formatKey } from '../model/job.ts';
import { hookClient } from './hook.ts';
import { JOB_ARGUMENT, jobOf } from './job-argument.ts';

/** Where the hook client looks, too. */
const RUN_DIR = '/run/caddis';

export const shellCommand: CommandModule<object, { job: string }> = {
  command: 'shell <job>',
  describe: "a shell in a job's machine: root's for root, the owner's for its owner",
  builder: (yargs) =>
    yargs
      .positional('job', JOB_ARGUMENT)
      .example('$0 shell 17', 'a login shell')
      .example('$0 shell 17 free -m', 'one command'),
  handler: async ({ job, ...rest }) => {
    const command = (rest as { '--'?: string[] })['--'] ?? [];
    const key = formatKey(await jobOf(job));
    const asRoot = process.getuid?.() === 0;
    if (!asRoot && !existsSync(join(process.env.CADDIS_RUN ?? RUN_DIR, 'jobs', key, 'step.sock')))
      throw new CaddisError(`no machine for ${key} on this node, or the job is not yours`);
    const result = await execa(hookClient(), ['--connect-timeout', '2', 'shell', key, ...command], {
      stdio: 'inherit',
      reject: false,
      env: asRoot ? {} : { CADDIS_KEY: key },
    });
    process.exitCode = result.exitCode ?? 1;
  },
};
