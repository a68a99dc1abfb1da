import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';

import { CaddisError } from '../model/errors.ts';
import { imageCommand } from './image.ts';
import { shellCommand } from './shell.ts';
import { statusCommand } from './status.ts';

void yargs(hideBin(process.argv))
  .scriptName('caddis')
  .usage('$0 <command>\n\nRuns every batch job of this cluster in a virtual machine of its own.')
  .parserConfiguration({ 'populate--': false, 'halt-at-non-option': false })
  .command(imageCommand())
  .command(shellCommand)
  .command(statusCommand)
  .demandCommand(1, 'Say what to do: "caddis --help" lists the commands.')
  .strict()
  .help()
  .fail((message, error) => {
    if (error && !(error instanceof CaddisError)) throw error;
    console.error(error ? `caddis: ${error.message}` : `caddis: ${message}`);
    if (!error) console.error("Try \"caddis --help\".");
    process.exit(error ? 1 : 64);
  })
  .parseAsync();
