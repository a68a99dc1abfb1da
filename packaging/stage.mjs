// Lays the installed tree out under a directory: `node packaging/stage.mjs DESTDIR`. The packages and the lab use the same layout.

import { existsSync } from 'node:fs';
import { chmod, cp, lstat, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { manPages } from './man.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** [from, to, mode] */
const FILES = [
  ['dist/caddisd.cjs', 'usr/lib/caddis/dist/caddisd.cjs', 0o755],
  ['dist/caddis.cjs', 'usr/lib/caddis/dist/caddis.cjs', 0o755],
  ['dist/caddis-jsv.cjs', 'usr/lib/caddis/gridengine/jsv', 0o755],
  ['build/caddis-hook', 'usr/sbin/caddis-hook', 0o755],
  ['build/caddis-init', 'usr/lib/caddis/caddis-init', 0o755],
  ['build/caddis-stub', 'usr/lib/caddis/caddis-stub', 0o755],
  ['src/guest/init/modules.txt', 'usr/lib/caddis/modules.txt', 0o644],
  ['build/spank_caddis.so', 'usr/lib/caddis/spank_caddis.so', 0o644],
  ['hooks/slurm', 'usr/lib/caddis/slurm', undefined],
  ['hooks/gridengine', 'usr/lib/caddis/gridengine', undefined],
  ['packaging/systemd/caddisd.service', 'usr/lib/systemd/system/caddisd.service', 0o644],
  ['README.md', 'usr/share/doc/caddis/README.md', 0o644],
  ['docs', 'usr/share/doc/caddis/docs', undefined],
];
const LINKS = [
  ['../lib/caddis/dist/caddisd.cjs', 'usr/sbin/caddisd'],
  ['../lib/caddis/dist/caddis.cjs', 'usr/sbin/caddis'],
];

/**
 * Copies the built files; throws when one is missing, since half a package is worse than none. `date` stands in the manual pages.
 */
export async function stage(to, date = '') {
  const destination = resolve(to);
  for (const [from, path, mode] of FILES) {
    const source = join(root, from);
    if (!existsSync(source)) throw new Error(`${from} is missing: run "npm run build" first`);
    const target = join(destination, path);
    await makeDirectory(dirname(target));
    await cp(source, target, { recursive: true, filter: isInstalled });
    if (mode === undefined) await forEverybody(target);
    else await chmod(target, mode);
  }
  for (const [target, path] of LINKS) {
    const link = join(destination, path);
    await makeDirectory(dirname(link));
    await rm(link, { force: true });
    await symlink(target, link);
  }
  await stageManual(destination, date);
}

async function stageManual(destination, date) {
  const sources = join(root, 'docs/man');
  for (const file of await readdir(sources))
    for (const { name, section, roff } of manPages(await readFile(join(sources, file), 'utf8'), date)) {
      const path = join(destination, `usr/share/man/man${section}/${name}.${section}.gz`);
      await makeDirectory(dirname(path));
      await writeFile(path, gzipSync(roff, { level: 9 }));
      await chmod(path, 0o644);
    }
}

/** Those that are there already are somebody else's: DESTDIR may be the root of a system. */
async function makeDirectory(path) {
  const first = await mkdir(path, { recursive: true });
  for (let at = path; first !== undefined; at = dirname(at)) {
    await chmod(at, 0o755);
    if (at === first) return;
  }
}

/** Hooks and the JSV are read by users and by sgeadmin, whatever the umask of whoever builds. */
async function forEverybody(path) {
  const found = await lstat(path);
  if (found.isSymbolicLink()) return;
  const runs = found.isDirectory() || (found.mode & 0o100) !== 0;
  await chmod(path, runs ? 0o755 : 0o644);
  if (found.isDirectory()) for (const name of await readdir(path)) await forEverybody(join(path, name));
}

/** Sources stay behind: C programs, the JSV's modules, the plugin's directory. */
function isInstalled(path) {
  return !/\.(ts|c|h|o)$|Makefile$|\/(spank|jsv)$/.test(path);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const destination = process.argv[2];
  if (!destination) {
    console.error('usage: node packaging/stage.mjs DESTDIR');
    process.exit(64);
  }
  await stage(destination);
}
