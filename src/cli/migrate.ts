import type { CommandModule } from 'yargs';

import { formatKey } from '../model/job.ts';
import type { MigrationNews } from '../model/status.ts';
import { askDaemon } from './hook.ts';
import { JOB_ARGUMENT, jobOf } from './job-argument.ts';
import { numberOption } from './number-option.ts';

interface Arguments {
  readonly job: string;
  readonly to?: string | undefined;
  readonly wait: boolean;
  readonly timeout: number;
  readonly json: boolean;
}

const HOW: Readonly<Record<string, string>> = {
  thaw: 'thawed where it stood',
  'hand-over': 'handed over from libvirt to libvirt',
  restore: 'restored from the store',
  base: 'started afresh',
};

export const migrateCommand: CommandModule<object, Arguments> = {
  command: 'migrate <job>',
  describe:
    'put a job of this node back into the queue with its state; it goes on where its scheduler next starts it',
  builder: (yargs) =>
    yargs
      .positional('job', JOB_ARGUMENT)
      .option('to', { type: 'string', describe: 'the only host where it may go on' })
      .option('wait', { type: 'boolean', default: true, describe: 'wait until it goes on' })
      .option(
        'timeout',
        numberOption('timeout', { byDefault: 600, least: 1, describe: 'seconds to wait at most' }),
      )
      .option('json', { type: 'boolean', default: false, describe: 'one JSON object' })
      .example('$0 migrate 17 --to node8', 'and wait until it runs there'),
  handler: async ({ job, to, wait, timeout, json }) => {
    const key = formatKey(await jobOf(job));
    let last: MigrationNews = { job: key, state: 'requeued' };
    const onLine = (line: string) => {
      last = JSON.parse(line) as MigrationNews;
      if (!json && last.state !== 'goes-on') console.error(`${key}: ${last.state}`);
    };
    const seconds = wait ? timeout : 0;
    await askDaemon('migrate', [key, to ?? '-', `${seconds}`], { onLine, timeoutMs: (seconds + 90) * 1000 });
    if (json) console.log(JSON.stringify(last));
    else console.log(wentWell(key, last));
  },
};

function wentWell(key: string, { host, how, stood_still_ms: stoodMs = 0 }: MigrationNews): string {
  if (host === undefined)
    return `${key} goes back to its queue; "caddis checkpoints list ${key}" shows what was saved`;
  return `${key} goes on on ${host}, ${HOW[how ?? ''] ?? how}; it stood still for ${(stoodMs / 1000).toFixed(1)} s`;
}
