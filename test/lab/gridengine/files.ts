import { access, chmod, cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { repository } from '../layout.ts';
import type { Cell } from './cell.ts';

const SOURCE = join(repository, 'hooks/gridengine');
/** Where an installation has the hooks and their settings; the lab has them elsewhere. */
const INSTALLED = { hooks: '/usr/lib/caddis/gridengine', settings: '/etc/caddis/hooks.env' };
const JSV = join(repository, 'dist/caddis-jsv.cjs');

/**
 * Puts our hooks where the lab's queues look for them: the repository's own files, with the lab's paths in place of the installed ones.
 * Throws if the JSV was not built.
 */
export async function writeHooks(cell: Cell): Promise<void> {
  await access(JSV).catch(() => {
    throw new Error(`expected the built JSV at ${JSV}: run "npm run build"`);
  });
  await mkdir(cell.hooks, { recursive: true });
  const files = (await readdir(SOURCE)).filter(
    (file) => /\.(sh|ckpt|q)$/.test(file) || file === 'queue.conf',
  );
  for (const file of files) {
    const text = await readFile(join(SOURCE, file), 'utf8');
    // Put in place whole: a shell goes on reading the file that it began.
    const fresh = join(cell.hooks, `.${file}.new`);
    await writeFile(fresh, withLabPaths(cell, text));
    if (file.endsWith('.sh')) await chmod(fresh, 0o755);
    await rename(fresh, join(cell.hooks, file));
  }
  const hook = process.env.CADDIS_LAB_HOOK ?? join(repository, 'build/caddis-hook');
  // A short delay: tests of a dead caddisd should not take longer than they must.
  await writeFile(join(cell.hooks, 'hooks.env'), `CADDIS_HOOK=${hook}\nCADDIS_UNREACHABLE_DELAY=2\n`);
  await cp(JSV, join(cell.hooks, 'caddis-jsv.cjs'));
  const jsv = join(cell.hooks, 'jsv');
  await writeFile(
    jsv,
    `#!/bin/sh\nexec ${process.execPath} ${cell.hooks}/caddis-jsv.cjs all.q=caddis move.q=caddis-move scavenge.q=caddis-move --spreading=mpi --lend=scavenge.q --small=memory=1G,slots=1,h_rt=0:10:0 --default-queue=all.q\n`,
  );
  await chmod(jsv, 0o755);
}

/** The queue for jobs that run in slack, as an installation adds it. */
export async function scavengeQueue(cell: Cell): Promise<string> {
  return withLabPaths(cell, await readFile(join(SOURCE, 'scavenge.q'), 'utf8'));
}

/** The complexes that an installation adds, as lines for `qconf -Mc`. */
export async function ourComplexes(): Promise<string> {
  return await readFile(join(SOURCE, 'complexes'), 'utf8');
}

/** What the hooks' settings and scripts are now, for the template's key. */
export async function queueAttributes(cell: Cell): Promise<string> {
  return withLabPaths(cell, await readFile(join(SOURCE, 'queue.conf'), 'utf8'));
}

/** Removes a directory and all in it, and makes it anew. */
export async function freshDirectory(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true });
}

function withLabPaths(cell: Cell, text: string): string {
  return text
    .replaceAll(INSTALLED.hooks, cell.hooks)
    .replaceAll(INSTALLED.settings, join(cell.hooks, 'hooks.env'));
}
