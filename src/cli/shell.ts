import { execa } from 'execa';
import type { CommandModule } from 'yargs';

import { formatKey } from '../model/job.ts';
import { hookClient } from './hook.ts';
import { jobOf } from './job-argument.ts';

export const shellCommand: CommandModule<object, { job: string }> = {
  command: 'shell <job>',
  describe: "a shell in a job's machine: root's for root, the owner's for its owner",
  builder: (yargs) =>
    yargs
      .positional('job', {
        type: 'string',
        demandOption: true,
        describe: 'slurm-17, gridengine-12.1, 17, 17_3, 12.1',
      })
      .example('$0 shell 17', 'a login shell')
      .example('$0 shell 17 free -m', 'one command'),
  handler: async ({ job, ...rest }) => {
    const command = (rest as { '--'?: string[] })['--'] ?? [];
    const key = formatKey(await jobOf(job));
    const asRoot = process.getuid?.() === 0;
    const result = await execa(hookClient(), ['--connect-timeout', '2', 'shell', key, ...command], {
      stdio: 'inherit',
      reject: false,
      env: asRoot ? {} : { CADDIS_KEY: key },
    });
    process.exitCode = result.exitCode ?? 1;
  },
};
