import { constants } from 'node:fs';
import { chmod, copyFile, link, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { makeErofs } from './erofs.ts';
import { type GuestPrograms, locateGuestPrograms } from './guest-programs.ts';
import { makeInitrd } from './initrd.ts';
import { DEFAULT_KERNEL_PACKAGE, type GuestKernel, prepareKernel } from './kernel.ts';
import type { ImageSource } from './manifest.ts';
import { BOOT_MODULES } from './module-sets.ts';
import { parseModuleList } from './modules.ts';
import { formatBytes, type Progress, silent } from './progress.ts';
import { stageHost } from './root-host.ts';
import { fillFromPackages } from './root-packages.ts';
import { fillFromPrograms } from './root-programs.ts';
import type { ImageStore, StoredImage } from './store.ts';

/** What a root is to be made of. */
export type RootRecipe =
  | { readonly kind: 'host'; readonly exclude: readonly string[]; readonly opt: boolean }
  | { readonly kind: 'packages'; readonly packages: readonly string[] }
  | { readonly kind: 'programs'; readonly programs: readonly string[]; readonly paths: readonly string[] };

export interface ImageRecipe {
  readonly root: RootRecipe;
  /** Debian package name or path of a .deb; default linux-image-cloud-amd64. */
  readonly kernel?: string;
  /** caddis-init, caddis-stub and the module list; found beside the program if not given. */
  readonly guestPrograms?: GuestPrograms;
}

export interface BuiltImage extends StoredImage {
  /** Host files that the image depends on; for `ensureImage`. */
  readonly inputs: readonly string[];
}

/**
 * Builds an image and puts it into the store; the same inputs give the same id. `name`, if given, points at it afterwards.
 * Throws KernelUnusable, ProgramNotClosed, or the message of the tool that failed.
 */
export async function buildImage(
  store: ImageStore,
  recipe: ImageRecipe,
  options: { readonly name?: string; readonly progress?: Progress; readonly signal?: AbortSignal } = {},
): Promise<BuiltImage> {
  const { name, progress = silent, signal } = options;
  const programs = recipe.guestPrograms ?? (await locateGuestPrograms());
  const work = await store.workDirectory();
  try {
    const kernel = await progress.phase(
      'kernel',
      () =>
        prepareKernel(recipe.kernel ?? DEFAULT_KERNEL_PACKAGE, store.cacheDirectory, {
          warn: progress.warn,
          ...(signal ? { signal } : {}),
        }),
      ({ release, version }) => `${release} (${version})`,
    );
    const parts = join(work, 'parts');
    await mkdir(parts, { mode: 0o755 });
    await linkOrCopy(kernel.vmlinuxPath, join(parts, 'vmlinux'));
    const initrd = await progress.phase(
      'initramfs',
      () => writeInitrd(kernel, programs, join(parts, 'initrd'), progress),
      ({ bytes, modules }) => `${formatBytes(bytes)}, ${modules.length} modules`,
    );
    signal?.throwIfAborted();
    const root = await makeRoot({
      work,
      image: join(parts, 'root.erofs'),
      kernel,
      recipe: recipe.root,
      store,
      progress,
      ...(signal ? { signal } : {}),
    });
    const image = await progress.phase(
      'publish',
      () =>
        store.publish(parts, {
          createdAt: new Date().toISOString(),
          createdBy: CREATED_BY,
          source: root.source,
          kernel: { package: kernel.package, version: kernel.version, release: kernel.release },
          bootModules: [...initrd.modules],
        }),
      ({ id }) => id.slice(0, 12),
    );
    if (name !== undefined) await store.setName(name, image.id);
    const inputs = [
      ...root.inputs,
      programs.initPath,
      programs.stubPath,
      ...(programs.modulesPath ? [programs.modulesPath] : []),
    ];
    return { ...(name === undefined ? image : await store.find(image.id)), inputs };
  } finally {
    // `publish` made its directory unwritable if it kept an older one with the same content.
    await chmod(join(work, 'parts'), 0o755).catch(() => {});
    await rm(work, { recursive: true, force: true });
  }
}

const CREATED_BY = 'caddis 0.1.0';

async function writeInitrd(kernel: GuestKernel, programs: GuestPrograms, path: string, progress: Progress) {
  const modules = programs.modulesPath
    ? parseModuleList(await readFile(programs.modulesPath, 'utf8'))
    : BOOT_MODULES;
  const initrd = await makeInitrd({
    kernel,
    modules,
    initPath: programs.initPath,
    stubPath: programs.stubPath,
  });
  if (initrd.missing.length > 0)
    progress.warn(`kernel ${kernel.release} has no module ${initrd.missing.join(', ')}`);
  await writeFile(path, initrd.content);
  return { bytes: initrd.content.length, modules: initrd.modules };
}

interface RootJob {
  readonly work: string;
  readonly image: string;
  readonly kernel: GuestKernel;
  readonly recipe: RootRecipe;
  readonly store: ImageStore;
  readonly progress: Progress;
  readonly signal?: AbortSignal;
}

async function makeRoot(job: RootJob): Promise<{ source: ImageSource; inputs: readonly string[] }> {
  const { work, image, kernel, recipe, store, progress } = job;
  const signal = job.signal ? { signal: job.signal } : {};
  const root = join(work, 'root');
  await mkdir(root);
  // This is the mode of the guest's `/`, which must not depend on the builder's umask.
  await chmod(root, 0o755);
  const erofs = (directory: string, options: Parameters<typeof makeErofs>[2]) =>
    progress.phase(
      'erofs',
      async () => {
        await makeErofs(directory, image, { ...options, ...signal });
        return (await stat(image)).size;
      },
      formatBytes,
    );
  switch (recipe.kind) {
    case 'programs': {
      const { programs, paths } = recipe;
      const inputs = await progress.phase(
        'closure',
        () => fillFromPrograms({ root, programs, paths, kernel, warn: progress.warn }),
        (sources) => `${sources.length} files`,
      );
      await erofs(root, { allRoot: true });
      return { source: { kind: 'programs', programs: [...programs], paths: [...paths] }, inputs };
    }
    case 'packages': {
      const files = await progress.phase(
        'packages',
        () =>
          fillFromPackages({
            root,
            packages: recipe.packages,
            cacheDirectory: store.cacheDirectory,
            kernel,
            warn: progress.warn,
            ...signal,
          }),
        (debs) => `${debs.length} packages`,
      );
      await erofs(root, { allRoot: process.getuid?.() !== 0 });
      return { source: { kind: 'packages', packages: [...recipe.packages], files: [...files] }, inputs: [] };
    }
    case 'host': {
      const { exclude, opt } = recipe;
      const host = await progress.phase('host', () => stageHost({ staging: root, exclude, opt, kernel }));
      await erofs(host.directory, { allRoot: false, exclude: host.exclude, prefix: host.prefix });
      return { source: { kind: 'host', exclude: [...exclude], opt }, inputs: [] };
    }
    default:
      return recipe satisfies never;
  }
}

/** A link spares 50 MB an image; a store whose cache is on another file system gets a copy. */
async function linkOrCopy(from: string, to: string): Promise<void> {
  await link(from, to).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EXDEV' && error.code !== 'EPERM' && error.code !== 'EMLINK') throw error;
    await copyFile(from, to, constants.COPYFILE_FICLONE);
  });
}
