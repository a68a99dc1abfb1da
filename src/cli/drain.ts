import { hostname } from 'node:os';

import type { CommandModule } from 'yargs';

import { CaddisError } from '../model/errors.ts';
import type { NodeStatus } from '../model/status.ts';
import { askDaemon } from './hook.ts';
import { numberOption } from './number-option.ts';

const hostArgument = {
  type: 'string',
  describe: 'this node: a script that means another one is stopped',
} as const;

/** Caddis has no way from node to node: an admin has. Throws CaddisError. */
function demandThisNode(verb: string, host: string | undefined): void {
  const here = hostname();
  const short = (name: string) => name.split('.')[0];
  if (host !== undefined && host !== here && short(host) !== short(here))
    throw new CaddisError(`this is ${here}: run "caddis ${verb}" on ${host}, for example by ssh`);
}

/** How often the node is looked at while jobs leave it. */
const LOOK_EVERY_MS = 1_000;

export const drainCommand: CommandModule<
  object,
  { host?: string | undefined; reason: string; wait: number }
> = {
  command: 'drain [host]',
  describe: 'take this node out of service and have every job leave it with its state',
  builder: (yargs) =>
    yargs
      .positional('host', hostArgument)
      .option('reason', {
        type: 'string',
        default: 'drained by an admin',
        describe: 'what the schedulers show',
      })
      .option(
        'wait',
        numberOption('wait', {
          byDefault: 600,
          least: 0,
          describe: 'seconds to wait until all jobs have left; 0 = do not wait',
        }),
      )
      .example('$0 drain --reason "new disk"', 'and "$0 undrain" afterwards'),
  handler: async ({ host: named, reason, wait }) => {
    demandThisNode('drain', named);
    await askDaemon('drain', [reason]);
    const deadline = performance.now() + wait * 1000;
    for (;;) {
      const { host, machines } = JSON.parse(await askDaemon('status')) as NodeStatus;
      if (machines.length === 0) return console.log(`${host} is out of service and has no machine any more`);
      const left = machines.map(({ job, phase }) => `${job} (${phase})`).join(', ');
      if (performance.now() >= deadline) {
        console.log(`${host} is out of service; still here: ${left}`);
        process.exitCode = wait === 0 ? 0 : 1;
        return;
      }
      if (process.stderr.isTTY) console.error(`leaving: ${left}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  },
};

export const undrainCommand: CommandModule<object, { host?: string | undefined }> = {
  command: 'undrain [host]',
  describe: 'put this node back into service after "drain"',
  builder: (yargs) => yargs.positional('host', hostArgument),
  handler: async ({ host }) => {
    demandThisNode('undrain', host);
    await askDaemon('undrain');
    console.log('back in service');
  },
};
