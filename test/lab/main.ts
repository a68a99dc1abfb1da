import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';

import { current, down, up } from './lab.ts';
import { shell } from './shell.ts';
import { status, statusText } from './status.ts';

const say = (line: string) => console.error(`lab: ${line}`);

try {
  await yargs(hideBin(process.argv))
    .scriptName('npm run lab --')
    .parserConfiguration({ 'populate--': true })
    .command(
      'up',
      'bring up two nodes and a head with both schedulers',
      (command) =>
        command
          .option('pin', {
            type: 'boolean',
            default: true,
            describe: 'each node on a core of its own (--no-pin: not)',
          })
          .option('without', {
            type: 'string',
            array: true,
            default: [],
            choices: ['slurm', 'gridengine', 'caddisd'],
            describe: 'leave a part out',
          }),
      async ({ pin, without }) => {
        const started = performance.now();
        await up({ pinned: pin, without, log: say });
        console.log(statusText(await status()));
        say(`up in ${((performance.now() - started) / 1000).toFixed(1)} s`);
      },
    )
    .command('down', 'take everything down; files and logs stay', {}, async () => await down(say))
    .command(
      'sh [host]',
      'run a command (after --) or a shell on a host, as a user',
      (command) =>
        command
          .positional('host', { type: 'string', describe: 'head, n1 or n2' })
          .option('host', { type: 'string', describe: 'head, n1 or n2' })
          .option('user', { type: 'string', default: 'alice', describe: 'alice, bob or root' }),
      async ({ host = 'head', user, '--': rest }) => {
        const lab = await current();
        if (!lab) throw new Error('the lab is not up: run "npm run lab -- up"');
        const command = Array.isArray(rest) ? rest.map(String) : [];
        process.exitCode = await shell(lab, { host, user, command });
      },
    )
    .command(
      'status',
      'what runs where',
      (command) => command.option('json', { type: 'boolean', default: false }),
      async ({ json }) => {
        const now = await status();
        console.log(json ? JSON.stringify(now, undefined, 2) : statusText(now));
        if (now.state !== 'up') process.exitCode = 1;
      },
    )
    .demandCommand(1, 'say what to do: up, down, sh or status')
    .strict()
    .fail((message, error) => {
      throw error ?? new Error(`${message}; see "npm run lab -- --help"`);
    })
    .parseAsync();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  if (error instanceof Error && error.cause instanceof Error) say(`  ${error.cause.message}`);
  process.exitCode = 1;
}
