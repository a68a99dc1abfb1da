import { createHash } from 'node:crypto';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Lab } from '../host.ts';
import { on } from '../process.ts';
import type { Cell } from './cell.ts';
import { freshDirectory, ourComplexes, queueAttributes, scavengeQueue } from './files.ts';

/** Sources whose change makes another cell. */
const SOURCES = ['cell.ts', 'configure.ts', 'objects.ts', 'template.ts'];

/** Puts the configured cell of an earlier start in place (0.1 s instead of seconds of qconf). False if there is none for these inputs. */
export async function restoreTemplate(lab: Lab, cell: Cell): Promise<boolean> {
  const saved = await readFile(join(cell.template, 'key'), 'utf8').catch(() => '');
  if (saved !== (await templateKey(lab, cell))) return false;
  await Promise.all([cell.root, cell.spool].map((path) => rm(path, { recursive: true, force: true })));
  await on(lab.head, ['cp', '-a', join(cell.template, 'root'), join(cell.template, 'spool'), cell.dir]);
  return true;
}

/** Keeps the configured cell, whose qmaster has ended. The key is written last: a template without one is no template. */
export async function saveTemplate(lab: Lab, cell: Cell): Promise<void> {
  await freshDirectory(cell.template);
  await on(lab.head, ['cp', '-a', cell.root, cell.spool, cell.template]);
  await writeFile(join(cell.template, 'key'), await templateKey(lab, cell));
}

async function templateKey(lab: Lab, cell: Cell): Promise<string> {
  const hash = createHash('sha256');
  for (const source of SOURCES) hash.update(await readFile(join(import.meta.dirname, source)));
  hash
    .update(await ourComplexes())
    .update(await queueAttributes(cell))
    .update(await scavengeQueue(cell));
  hash.update(JSON.stringify([cell, lab.head.name, lab.nodes.map(({ name }) => name)]));
  const binary = await stat('/usr/sbin/sge_qmaster');
  return hash.update(`${binary.size} ${binary.mtimeMs}`).digest('hex');
}
