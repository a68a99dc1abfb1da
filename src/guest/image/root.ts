import { lstatSync } from 'node:fs';
import { chmod, lutimes, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { execa } from 'execa';

import type { GuestKernel } from './kernel.ts';
import { ROOT_MODULES } from './module-sets.ts';
import { readModuleIndex, selectModules } from './modules.ts';
import { slimModule } from './slim-module.ts';

/** Puts the modules that are loaded on demand into `root`/usr/lib/modules, with depmod's tables for just these. */
export async function addRootModules(root: string, kernel: GuestKernel): Promise<void> {
  const { paths } = selectModules(await readModuleIndex(kernel.modulesDirectory), ROOT_MODULES);
  const target = join(root, 'usr/lib/modules', kernel.release);
  const tables = ['modules.order', 'modules.builtin', 'modules.builtin.modinfo'];
  for (const path of [...paths, ...tables]) {
    await mkdir(dirname(join(target, path)), { recursive: true });
    const content = await readFile(join(kernel.modulesDirectory, path));
    await writeFile(join(target, path), path.endsWith('.ko') ? slimModule(content) : content);
  }
  // depmod looks into BASE/lib/modules, which our usr-merged root leads to /usr/lib/modules.
  await execa('depmod', ['-b', join(root, 'usr'), kernel.release], { timeout: 60_000 });
  await normalise(join(root, 'usr/lib/modules'));
}

/**
 * Writes ld.so.cache, so that the loader finds libraries outside its default directories. ldconfig changes its root, which only root may
 * do; without it the default directories must do. Its own auxiliary cache holds inode numbers, so it would make every image different.
 */
export async function addLoaderCache(root: string, warn: (text: string) => void): Promise<void> {
  if (process.getuid?.() !== 0) {
    warn(
      'not root: the image gets no /etc/ld.so.cache, libraries outside the default directories will not be found',
    );
    return;
  }
  await execa('/sbin/ldconfig', ['-X', '-r', root], { timeout: 60_000 });
  await rm(join(root, 'var/cache/ldconfig'), { recursive: true, force: true });
  for (const path of ['etc/ld.so.cache', 'etc', 'var/cache', 'var']) await lutimes(join(root, path), 0, 0);
}

/** Gives everything below `directory` the time 0 and plain modes, whatever the builder's umask was. */
async function normalise(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    await chmod(path, entry.isDirectory() ? 0o755 : 0o644);
    await lutimes(path, 0, 0);
  }
  await chmod(directory, 0o755);
  await lutimes(directory, 0, 0);
}

/** Does `path` exist in `root`, as itself: links are not followed, since an absolute one would lead out of the root. */
export function existsIn(root: string, path: string): boolean {
  return lstatSync(join(root, path), { throwIfNoEntry: false }) !== undefined;
}
