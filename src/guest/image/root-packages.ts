import { existsSync } from 'node:fs';
import { chmod, lutimes, mkdir, readdir, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { execa } from 'execa';

import { fetchDebs } from './apt.ts';
import { addDirectories, addEtc } from './etc.ts';
import type { GuestKernel } from './kernel.ts';
import { addLoaderCache, addRootModules, existsIn } from './root.ts';
import { Tree, writeTree } from './tree.ts';

/** What a job script expects of any machine. */
const BASE_PACKAGES = [
  'base-files',
  'bash',
  'coreutils',
  'dash',
  'debianutils',
  'libc-bin',
  'netbase',
  'tzdata',
];

/**
 * Fills `root` with Debian packages and all they depend on (without what they only recommend). Maintainer scripts do not run: what they
 * would have made is either made here (links of update-alternatives, the loader's cache, accounts) or missing (byte-compiled Python, services,
 * system users). Returns the packages' file names, which say exactly what is inside.
 */
export async function fillFromPackages(options: {
  readonly root: string;
  readonly packages: readonly string[];
  readonly cacheDirectory: string;
  readonly kernel: GuestKernel;
  readonly warn: (text: string) => void;
  readonly signal?: AbortSignal;
}): Promise<readonly string[]> {
  const { root, packages, cacheDirectory, kernel, warn, signal } = options;
  const wanted = [...new Set([...BASE_PACKAGES, ...packages])];
  const debs = await fetchDebs(wanted, {
    directory: join(cacheDirectory, 'debs'),
    dependencies: true,
    ...(signal ? { signal } : {}),
  });
  const skeleton = new Tree();
  addDirectories(skeleton);
  await writeTree(skeleton, root);
  for (const deb of debs) await unpackDeb(deb, root);
  await addAlternatives(root);
  const etc = new Tree();
  addEtc(etc, (path) => existsIn(root, path));
  if (!existsIn(root, 'etc/localtime') && existsIn(root, 'usr/share/zoneinfo/Etc/UTC'))
    etc.link('/etc/localtime', '/usr/share/zoneinfo/Etc/UTC');
  await writeTree(etc, root);
  await writeTree(skeleton, root);
  await addRootModules(root, kernel);
  await addLoaderCache(root, warn);
  await resetDirectoryTimes(root);
  return debs.map((deb) => basename(deb));
}

/** `--keep-directory-symlink`: a package that still ships ./bin/x must land in /usr/bin, not replace the link /bin. */
async function unpackDeb(deb: string, root: string): Promise<void> {
  const unpacked = execa('dpkg-deb', ['--fsys-tarfile', deb], { timeout: 120_000 }).pipe('tar', [
    '-x',
    '--keep-directory-symlink',
    '--numeric-owner',
    '-p',
    '-C',
    root,
  ]);
  await unpacked;
}

/** Links that update-alternatives would have made, first choice first. */
const ALTERNATIVES: readonly { readonly link: string; readonly choices: readonly string[] }[] = [
  { link: '/usr/bin/sh', choices: ['dash', 'bash'] },
  { link: '/usr/bin/awk', choices: ['/usr/bin/gawk', '/usr/bin/original-awk', '/usr/bin/mawk'] },
  { link: '/usr/bin/which', choices: ['/usr/bin/which.debianutils'] },
  { link: '/usr/bin/nawk', choices: ['/usr/bin/gawk', '/usr/bin/mawk'] },
  { link: '/usr/bin/pager', choices: ['/usr/bin/less', '/usr/bin/more'] },
  { link: '/usr/bin/vi', choices: ['/usr/bin/vim.basic', '/usr/bin/vim.tiny', '/usr/bin/nvi'] },
  { link: '/usr/bin/editor', choices: ['/usr/bin/vim.basic', '/usr/bin/vim.tiny', '/usr/bin/nano'] },
  { link: '/usr/bin/nc', choices: ['/usr/bin/nc.openbsd', '/usr/bin/nc.traditional'] },
  { link: '/usr/bin/c99', choices: ['/usr/bin/c99-gcc'] },
  { link: '/usr/bin/cc', choices: ['/usr/bin/gcc', '/usr/bin/clang'] },
  { link: '/usr/bin/c++', choices: ['/usr/bin/g++', '/usr/bin/clang++'] },
  { link: '/usr/bin/mpirun', choices: ['/usr/bin/mpirun.openmpi', '/usr/bin/mpirun.mpich'] },
  { link: '/usr/bin/mpiexec', choices: ['/usr/bin/mpiexec.openmpi', '/usr/bin/mpiexec.mpich'] },
];

async function addAlternatives(root: string): Promise<void> {
  for (const { link, choices } of ALTERNATIVES) {
    const choice = choices.find((path) =>
      existsSync(join(root, path.startsWith('/') ? path : join(dirname(link), path))),
    );
    if (choice === undefined || existsIn(root, link)) continue;
    await mkdir(dirname(join(root, link)), { recursive: true });
    await symlink(choice, join(root, link));
    await lutimes(join(root, link), 0, 0);
  }
}

/** Files have the times that their packages gave them; unpacking moved those of directories. */
async function resetDirectoryTimes(root: string): Promise<void> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  for (const entry of entries)
    if (entry.isDirectory()) await lutimes(join(entry.parentPath, entry.name), 0, 0);
  await lutimes(root, 0, 0);
  await chmod(root, 0o755);
}
