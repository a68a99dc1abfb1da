import type { CommandModule } from 'yargs';

import type { NodeStatus } from '../model/status.ts';
import { askDaemon } from './hook.ts';

/** How often the node is looked at while jobs leave it. */
const LOOK_EVERY_MS = 1_000;

export const drainCommand: CommandModule<object, { reason: string; wait: number }> = {
  command: 'drain',
  describe: 'take this node out of service and have every job leave it with its state',
  builder: (yargs) =>
    yargs
      .option('reason', {
        type: 'string',
        default: 'drained by an admin',
        describe: 'what the schedulers show',
      })
      .option('wait', {
        type: 'number',
        default: 600,
        describe: 'seconds to wait until all jobs have left; 0 = do not wait',
      })
      .example('$0 drain --reason "new disk"', 'and "$0 undrain" afterwards'),
  handler: async ({ reason, wait }) => {
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

export const undrainCommand: CommandModule = {
  command: 'undrain',
  describe: 'put this node back into service after "drain"',
  handler: async () => {
    await askDaemon('undrain');
    console.log('back in service');
  },
};
