import type { CommandModule } from 'yargs';

import { formatKey } from '../model/job.ts';
import { askDaemon } from './hook.ts';
import { jobOf } from './job-argument.ts';

export const migrateCommand: CommandModule<object, { job: string }> = {
  command: 'migrate <job>',
  describe:
    'put a job of this node back into the queue with its state: it goes on where its scheduler next starts it',
  builder: (yargs) =>
    yargs
      .positional('job', {
        type: 'string',
        demandOption: true,
        describe: 'slurm-17, gridengine-12.1, 17, 12.1',
      })
      .example(
        '$0 migrate 17',
        'what "scontrol requeue 17" does, with a look beforehand whether it can be done',
      ),
  handler: async ({ job }) => {
    const key = formatKey(jobOf(job));
    await askDaemon('migrate', [key]);
    console.log(`${key} goes back to its queue; "caddis checkpoints list ${key}" shows what was saved`);
  },
};
