import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { DEFAULT_CONFIG_PATH, loadConfig } from '../config/load.ts';
import { CaddisError, messageOf } from '../model/errors.ts';
import { Daemon } from './daemon.ts';
import { createLog } from './log.ts';
import { createRunDir } from './places.ts';

const USAGE = `usage: caddisd [--config FILE] [--check]
  --config FILE  default ${DEFAULT_CONFIG_PATH}
  --check        read the configuration, say what is wrong with it, and exit`;

void main();

async function main(): Promise<void> {
  try {
    const { values } = parseArgs({
      options: {
        config: { type: 'string' },
        check: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.help) return console.log(USAGE);
    const config = loadConfig(values.config);
    if (values.check) return console.log('the configuration is well-formed');
    await run(config);
  } catch (error) {
    console.error(error instanceof CaddisError ? `caddisd: ${error.message}` : error);
    if ((error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS')) console.error(USAGE);
    process.exit(1);
  }
}

async function run(config: ReturnType<typeof loadConfig>): Promise<void> {
  const log = createLog(config);
  await createRunDir(config.run_dir);
  const pidFile = join(config.run_dir, 'caddisd.pid');
  refuseSecond(pidFile);
  await writeFile(pidFile, `${process.pid}\n`);
  const daemon = new Daemon(config, log);
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => {
      log.info(`${signal}: stopping; the machines stay`);
      void daemon
        .stop()
        .then(() => rm(pidFile, { force: true }))
        .finally(() => process.exit(0));
    });
  process.on('unhandledRejection', (error) =>
    log.error(`bug: unhandled rejection: ${messageOf(error)}`, { stack: (error as Error)?.stack }),
  );
  process.on('uncaughtException', (error) => {
    // The machines and their shims outlive us: a restart is safer than going on in an unknown state.
    log.error(`bug: ${error.message}`, { stack: error.stack });
    process.exit(70);
  });
  await daemon.start();
}

/** Two daemons would fight over the same machines. */
function refuseSecond(pidFile: string): void {
  let pid = '';
  try {
    pid = readFileSync(pidFile, 'utf8').trim();
  } catch {
    return;
  }
  let commandLine = '';
  try {
    commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return;
  }
  if (pid !== String(process.pid) && /caddisd/.test(commandLine))
    throw new CaddisError(`caddisd already runs here with pid ${pid} (${pidFile})`);
}
