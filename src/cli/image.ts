import { readFile } from 'node:fs/promises';

import type { Argv, CommandModule } from 'yargs';

import { loadConfig } from '../config/load.ts';
import { buildImage, type RootRecipe } from '../guest/image/build.ts';
import { imageBytes } from '../guest/image/manifest.ts';
import { formatBytes, showProgress } from '../guest/image/progress.ts';
import { ImageStore, type ImageUsers, type StoredImage } from '../guest/image/store.ts';
import { CaddisError } from '../model/errors.ts';

interface StoreArguments {
  readonly store?: string | undefined;
  readonly json: boolean;
}

interface BuildArguments extends StoreArguments {
  readonly name?: string | undefined;
  readonly from?: string | undefined;
  readonly exclude?: readonly string[] | undefined;
  readonly opt: boolean;
  readonly packages?: string | undefined;
  readonly packagesFile?: string | undefined;
  readonly programs?: string | undefined;
  readonly paths?: readonly string[] | undefined;
  readonly kernel?: string | undefined;
}

interface OneImageArguments extends StoreArguments {
  readonly image: string;
}

interface RemoveArguments extends OneImageArguments {
  readonly force: boolean;
}

/** `caddis image build|list|show|remove`. `users` says which machines and checkpoints still need an image, so that `remove` keeps it. */
export function imageCommand({ users }: { readonly users: ImageUsers }): CommandModule {
  return {
    command: 'image',
    describe: 'Build and keep the images that job machines start from',
    builder: (yargs) =>
      yargs
        .command(buildCommand as CommandModule)
        .command(listCommand as CommandModule)
        .command(showCommand as CommandModule)
        .command(removeCommand(users) as CommandModule)
        .demandCommand(1, 'expected build, list, show or remove')
        .strict(),
    handler: () => {},
  };
}

const buildCommand: CommandModule<object, BuildArguments> = {
  command: 'build',
  describe: 'Build an image: kernel, initramfs and read-only root',
  builder: (yargs) =>
    withStore(yargs)
      .option('name', { type: 'string', describe: 'name that points at the image afterwards' })
      .option('from', { choices: ['host'], describe: "the node's own /usr and /etc, without its secrets" })
      .option('exclude', {
        type: 'string',
        array: true,
        describe: 'with --from host: absolute paths to leave out',
      })
      .option('opt', { type: 'boolean', default: false, describe: 'with --from host: take /opt too' })
      .option('packages', {
        type: 'string',
        describe: 'Debian packages, separated by commas, with all they depend on',
      })
      .option('packages-file', { type: 'string', describe: 'file with one package a line, # for comments' })
      .option('programs', {
        type: 'string',
        describe: 'programs of this node, separated by commas, with their libraries',
      })
      .option('paths', {
        type: 'string',
        array: true,
        describe: 'with --programs: files and directories to add',
      })
      .option('kernel', {
        type: 'string',
        describe: 'kernel package or .deb file (default linux-image-cloud-amd64)',
      })
      .check((argv) => {
        const kinds = [argv.from, argv.packages ?? argv['packages-file'], argv.programs].filter(
          (kind) => kind !== undefined,
        );
        if (kinds.length !== 1) return 'expected one of --from host, --packages, --programs';
        if (argv.paths && argv.programs === undefined) return '--paths goes with --programs';
        if ((argv.exclude || argv.opt) && argv.from === undefined)
          return '--exclude and --opt go with --from host';
        return true;
      }) as unknown as Argv<BuildArguments>,
  handler: async (argv) => {
    const image = await buildImage(
      storeOf(argv),
      { root: await rootRecipe(argv), ...(argv.kernel === undefined ? {} : { kernel: argv.kernel }) },
      { progress: showProgress(process.stderr), ...(argv.name === undefined ? {} : { name: argv.name }) },
    );
    process.stdout.write(argv.json ? toJson(describeImage(image)) : `${image.id}\n`);
  },
};

const listCommand: CommandModule<object, StoreArguments> = {
  command: 'list',
  describe: 'List the images of this node',
  builder: (yargs) => withStore(yargs) as Argv<StoreArguments>,
  handler: async (argv) => {
    const images = await storeOf(argv).list();
    process.stdout.write(argv.json ? toJson({ images: images.map(describeImage) }) : table(images));
  },
};

const showCommand: CommandModule<object, OneImageArguments> = {
  command: 'show <image>',
  describe: 'Show what an image is made of',
  builder: (yargs) => withImage(yargs) as Argv<OneImageArguments>,
  handler: async (argv) => {
    const image = await storeOf(argv).find(argv.image);
    process.stdout.write(argv.json ? toJson(describeImage(image)) : details(image));
  },
};

function removeCommand(users: ImageUsers): CommandModule<object, RemoveArguments> {
  return {
    command: 'remove <image>',
    aliases: ['rm'],
    describe: 'Remove an image that nothing needs',
    builder: (yargs) =>
      withImage(yargs).option('force', {
        type: 'boolean',
        default: false,
        describe: 'also if other names point at it',
      }) as Argv<RemoveArguments>,
    handler: async (argv) => {
      const options = { force: argv.force, users };
      const image = await storeOf(argv).remove(argv.image, options);
      process.stdout.write(argv.json ? toJson({ removed: image.id }) : `${image.id}\n`);
    },
  };
}

/** As caddisd on this node has it. */
function storeOf({ store }: StoreArguments): ImageStore {
  return new ImageStore(store ?? process.env.CADDIS_IMAGES ?? loadConfig().vm.images_dir);
}

function withStore(yargs: Argv): Argv {
  return yargs
    .option('store', {
      type: 'string',
      describe: 'directory of the images (default $CADDIS_IMAGES, or vm.images_dir in caddis.toml)',
    })
    .option('json', { type: 'boolean', default: false, describe: 'print one JSON object' });
}

function withImage(yargs: Argv): Argv {
  return withStore(yargs).positional('image', {
    type: 'string',
    demandOption: true,
    describe: 'name, id, or beginning of an id',
  });
}

async function rootRecipe(argv: BuildArguments): Promise<RootRecipe> {
  if (argv.from === 'host') return { kind: 'host', exclude: absolute(argv.exclude ?? []), opt: argv.opt };
  if (argv.programs !== undefined)
    return { kind: 'programs', programs: words(argv.programs), paths: absolute(argv.paths ?? []) };
  const fromFile = argv.packagesFile === undefined ? '' : await readFile(argv.packagesFile, 'utf8');
  return {
    kind: 'packages',
    packages: [...words(argv.packages ?? ''), ...words(fromFile.replace(/#.*$/gm, ''))],
  };
}

function words(text: string): string[] {
  return text.split(/[\s,]+/).filter(Boolean);
}

function absolute(paths: readonly string[]): string[] {
  for (const path of paths)
    if (!path.startsWith('/'))
      throw new CaddisError(`expected an absolute path, got ${JSON.stringify(path)}`);
  return [...paths];
}

function describeImage({ directory, names, manifest }: StoredImage): object {
  return { ...manifest, directory, names, bytes: imageBytes(manifest) };
}

function table(images: readonly StoredImage[]): string {
  const rows = images.map(({ id, names, manifest }) => [
    names.join(',') || '-',
    id.slice(0, 12),
    formatBytes(imageBytes(manifest)),
    manifest.kernel.release,
    manifest.source.kind,
    manifest.createdAt.slice(0, 16).replace('T', ' '),
  ]);
  const all = [['NAME', 'ID', 'SIZE', 'KERNEL', 'SOURCE', 'CREATED (UTC)'], ...rows];
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
  return all
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

function details({ id, directory, names, manifest }: StoredImage): string {
  const { source, kernel, parts } = manifest;
  const made = {
    host: () =>
      `this node's userland${source.kind === 'host' && source.exclude.length > 0 ? ` without ${source.exclude.join(' ')}` : ''}`,
    packages: () => `packages ${source.kind === 'packages' ? source.packages.join(' ') : ''}`,
    programs: () =>
      `programs ${source.kind === 'programs' ? [...source.programs, ...source.paths].join(' ') : ''}`,
  }[source.kind]();
  const lines = [
    ['id', id],
    ['names', names.join(' ') || '-'],
    ['directory', directory],
    ['kernel', `${kernel.release} (${kernel.package} ${kernel.version})`],
    ['made of', made],
    ['created', `${manifest.createdAt} by ${manifest.createdBy}`],
    ...Object.entries(parts).map(([name, part]) => [
      name,
      `${formatBytes(part.bytes)}  sha256:${part.sha256}`,
    ]),
  ];
  return lines.map(([label = '', value = '']) => `${label.padEnd(11)} ${value}\n`).join('');
}

function toJson(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
