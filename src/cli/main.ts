import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';

import { CaddisError } from '../model/errors.ts';
import { adviseCommand } from './advise.ts';
import { checkpointCommand } from './checkpoint.ts';
import { checkpointsCommand } from './checkpoints.ts';
import { doctorCommand } from './doctor.ts';
import { drainCommand, undrainCommand } from './drain.ts';
import { explainCommand } from './explain.ts';
import { imageCommand } from './image.ts';
import { imageUsers } from './image-users.ts';
import { migrateCommand } from './migrate.ts';
import { shellCommand } from './shell.ts';
import { statusCommand } from './status.ts';
import { topCommand } from './top.ts';

/** Set when the bundle is built. */
declare const CADDIS_VERSION: string | undefined;

void yargs(withCommandApart(hideBin(process.argv)))
  .scriptName('caddis')
  .usage('$0 <command>\n\nRuns every batch job of this cluster in a virtual machine of its own.')
  .parserConfiguration({ 'populate--': true })
  .command(adviseCommand)
  .command(checkpointsCommand)
  .command(doctorCommand)
  .command(checkpointCommand)
  .command(drainCommand)
  .command(explainCommand)
  .command(imageCommand({ users: imageUsers }))
  .command(migrateCommand)
  .command(shellCommand)
  .command(statusCommand)
  .command(topCommand)
  .command(undrainCommand)
  .demandCommand(1, 'Say what to do: "caddis --help" lists the commands.')
  .strictCommands()
  .strict()
  .version(typeof CADDIS_VERSION === 'string' ? CADDIS_VERSION : 'development')
  .help()
  .fail((message, error) => {
    // What an option's coerce throws comes as yargs's own.
    // A check's answer is a text.
    const isUsage = !error || typeof error === 'string' || error.name === 'YError';
    if (!isUsage && !(error instanceof CaddisError)) throw error;
    console.error(`caddis: ${isUsage ? message : error.message}`);
    if (isUsage) console.error('Try "caddis --help".');
    process.exit(isUsage ? 64 : 1);
  })
  .parseAsync();

/** What follows the job of `caddis shell JOB COMMAND...` is the command's own, options and all. */
function withCommandApart(words: readonly string[]): string[] {
  const [verb, job, next] = words;
  if (verb !== 'shell' || job === undefined || next === undefined || next === '--') return [...words];
  return [verb, job, '--', ...words.slice(2)];
}
