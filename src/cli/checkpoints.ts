import { createInterface } from 'node:readline/promises';

import type { Argv, CommandModule } from 'yargs';

import { Claims } from '../checkpoint/claims.ts';
import { isCheckpointRefused } from '../checkpoint/errors.ts';
import { nodeIo } from '../checkpoint/node-io.ts';
import { CheckpointStore, type ListedGeneration } from '../checkpoint/store.ts';
import { DEFAULT_CONFIG_PATH, loadConfig } from '../config/load.ts';
import { CaddisError } from '../model/errors.ts';
import { formatKey, type JobKey } from '../model/job.ts';
import { formatBytes } from '../model/units.ts';
import { asJson, details, type Verified, verifiedTable, wideTable } from './checkpoint-report.ts';
import { jobOf } from './job-argument.ts';

interface StoreArguments {
  readonly config: string;
  readonly dir?: string | undefined;
  readonly json: boolean;
}

interface SelectArguments extends StoreArguments {
  readonly job?: string | undefined;
}

interface OneArguments extends StoreArguments {
  readonly job: string;
}

/** `caddis checkpoints list|show|verify|remove`: straight on the store, also where no caddisd runs. */
export const checkpointsCommand: CommandModule = {
  command: 'checkpoints',
  describe: 'what the checkpoint store has, whether it is sound, and how to remove it',
  builder: (yargs) =>
    yargs
      .command(listCommand as CommandModule)
      .command(showCommand as CommandModule)
      .command(verifyCommand as CommandModule)
      .command(removeCommand as CommandModule)
      .demandCommand(1, 'expected list, show, verify or remove')
      .strict(),
  handler: () => {},
};

const listCommand: CommandModule<object, SelectArguments> = {
  command: 'list [job]',
  describe: 'list checkpoints, also those that would be refused',
  builder: (yargs) => withJob(yargs) as Argv<SelectArguments>,
  handler: async (argv) => {
    const found = await select(openStore(argv), argv.job);
    console.log(argv.json ? JSON.stringify({ checkpoints: found.map(asJson) }) : wideTable(found));
  },
};

const showCommand: CommandModule<object, OneArguments> = {
  command: 'show <job>',
  describe: 'show what a checkpoint was taken of; the newest, where no generation is named',
  builder: (yargs) => withJob(yargs) as Argv<OneArguments>,
  handler: async (argv) => {
    const store = openStore(argv);
    const found = await select(store, argv.job);
    const complete = found.filter(({ state }) => state === 'complete');
    const one = (complete.length > 0 ? complete : found).at(-1);
    if (!one) throw nothing(argv.job);
    const claim = await new Claims(store.io, store.dir).current(one.key);
    if (!argv.json) console.log(details(one, claim));
    else
      console.log(
        JSON.stringify({
          ...asJson(one),
          manifest: one.state === 'complete' ? one.manifest : null,
          claim: claim ?? null,
        }),
      );
  },
};

const verifyCommand: CommandModule<object, SelectArguments> = {
  command: 'verify [job]',
  describe: 'read and hash the images; exit status 1 if any checkpoint is damaged',
  builder: (yargs) => withJob(yargs) as Argv<SelectArguments>,
  handler: async (argv) => {
    const store = openStore(argv);
    const verified: Verified[] = [];
    const found = await select(store, argv.job);
    if (argv.job !== undefined && found.length === 0) throw nothing(argv.job);
    for (const one of found) verified.push({ generation: one, problem: await problemOf(store, one) });
    console.log(
      argv.json
        ? JSON.stringify({
            checkpoints: verified.map(({ generation, problem }) => ({
              ...asJson(generation),
              problem: problem ?? null,
            })),
          })
        : verifiedTable(verified),
    );
    if (verified.some(({ problem }) => problem !== undefined)) process.exitCode = 1;
  },
};

const removeCommand: CommandModule<object, OneArguments & { yes: boolean }> = {
  command: 'remove <job>',
  aliases: ['rm'],
  describe: 'remove one checkpoint, or all of a job',
  builder: (yargs) =>
    withJob(yargs).option('yes', { type: 'boolean', default: false, describe: 'do not ask' }) as Argv<
      OneArguments & { yes: boolean }
    >,
  handler: async (argv) => {
    const store = openStore(argv);
    const found = await select(store, argv.job);
    const { key, number } = await parseSelection(argv.job);
    if (found.length === 0 && number !== undefined) throw nothing(argv.job);
    if (!argv.yes) await confirmRemoval(found);
    for (const one of found) await store.removeGeneration(one.key, one.number);
    // Who lost its claim would end its machine: what a node holds stays.
    const claim = number === undefined ? await new Claims(store.io, store.dir).current(key) : undefined;
    const whole = number === undefined && (!claim || claim.released) && (await store.removeJob(key));
    if (found.length === 0 && !whole) throw nothing(argv.job);
    if (argv.json) console.log(JSON.stringify({ removed: found.map(asJson) }));
    else for (const one of found) console.log(`${formatKey(one.key)}/${one.number}`);
  },
};

function withJob(yargs: Argv): Argv {
  return yargs
    .positional('job', { type: 'string', describe: 'JOB or JOB/GENERATION: slurm-17, 17/2, 17_3, 12.1' })
    .option('config', { type: 'string', default: DEFAULT_CONFIG_PATH, describe: 'caddis.toml' })
    .option('dir', { type: 'string', describe: 'directory of the store (default checkpoint.dir)' })
    .option('json', { type: 'boolean', default: false, describe: 'print one JSON object' });
}

function openStore({ config, dir }: StoreArguments): CheckpointStore {
  const found = dir ?? loadConfig(config).checkpoint.dir;
  if (dir === undefined && process.getuid?.() !== 0)
    throw new CaddisError('checkpoints hold the memory of jobs: they are for root');
  if (found === undefined)
    throw new CaddisError(
      `checkpoint.dir is not set in ${config}: this site keeps no checkpoints; set it, or name a store by --dir`,
    );
  return new CheckpointStore({ dir: found, io: nodeIo() });
}

async function parseSelection(text: string): Promise<{ key: JobKey; number: number | undefined }> {
  const [job = '', number, ...more] = text.split('/');
  if (more.length > 0 || (number !== undefined && !/^[1-9]\d*$/.test(number)))
    throw new CaddisError(`"${text}" is no checkpoint: write JOB or JOB/GENERATION, for example slurm-17/2`);
  return { key: await jobOf(job), number: number === undefined ? undefined : Number(number) };
}

async function select(store: CheckpointStore, text: string | undefined): Promise<ListedGeneration[]> {
  if (text === undefined) return store.list();
  const { key, number } = await parseSelection(text);
  const found = await store.list(key);
  return number === undefined ? found : found.filter((one) => one.number === number);
}

function nothing(selection: string): CaddisError {
  return new CaddisError(
    `there is no checkpoint ${selection}; "caddis checkpoints list" shows what there is`,
  );
}

async function problemOf(store: CheckpointStore, one: ListedGeneration): Promise<string | undefined> {
  if (one.state === 'refused') return one.refusal;
  const say = (text: string, end = '') =>
    process.stderr.write(process.stderr.isTTY ? `\r${text}${end}` : end && `${text}${end}`);
  const name = `${formatKey(one.key)}/${one.number}`;
  try {
    await store.verify(one, {
      progress: (done) => say(`${name}: ${formatBytes(done)} of ${formatBytes(one.bytes)}  `),
    });
    return undefined;
  } catch (error) {
    if (!isCheckpointRefused(error)) throw error;
    return error.message;
  } finally {
    say(`${name}: ${formatBytes(one.bytes)} read            `, '\n');
  }
}

async function confirmRemoval(found: readonly ListedGeneration[]): Promise<void> {
  if (!process.stdin.isTTY)
    throw new CaddisError('stdin is no terminal to ask on: say --yes to remove checkpoints');
  console.error(wideTable(found));
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await lines.question('Remove these for good? [y/N] ').finally(() => lines.close());
  if (!/^y(es)?$/i.test(answer.trim())) throw new CaddisError('nothing was removed');
}
