import type { CommandModule } from 'yargs';

import { formatKey } from '../model/job.ts';
import { askDaemon } from './hook.ts';
import { JOB_ARGUMENT, jobOf } from './job-argument.ts';

export const checkpointCommand: CommandModule<object, { job: string }> = {
  command: 'checkpoint <job>',
  describe: 'save a job of this node now; it goes on running',
  builder: (yargs) => yargs.positional('job', JOB_ARGUMENT),
  handler: async ({ job }) => {
    const key = formatKey(await jobOf(job));
    await askDaemon('checkpoint', [key]);
    console.log(`${key} is saved: "caddis checkpoints list ${key}"`);
  },
};
