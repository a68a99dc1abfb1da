import { lutimes } from 'node:fs/promises';
import { join } from 'node:path';

import { Closure, LibrarySearch } from './closure.ts';
import { Collector } from './collect.ts';
import { type Companion, commonCompanions, companionsOf } from './companions.ts';
import { addDirectories, addEtc, neutralHostFiles } from './etc.ts';
import type { GuestKernel } from './kernel.ts';
import { addLoaderCache, addRootModules } from './root.ts';
import { writeTree } from './tree.ts';

/** Every guest needs a shell for `#!/bin/sh` and for Slurm's --wrap. */
const ALWAYS = ['sh', 'bash', 'env'];

/**
 * Fills `root` with the library closure of `programs` and with `paths`. Returns the host paths that it depends on.
 * Throws ProgramNotClosed naming the program or library that is missing.
 */
export async function fillFromPrograms(options: {
  readonly root: string;
  readonly programs: readonly string[];
  readonly paths: readonly string[];
  readonly kernel: GuestKernel;
  readonly warn: (text: string) => void;
}): Promise<readonly string[]> {
  const { root, programs, paths, kernel, warn } = options;
  const collector = new Collector();
  const closure = new Closure(collector, await LibrarySearch.load());
  const take = ({ paths: wanted, keep }: Companion) => {
    for (const path of wanted) for (const file of collector.addAll(path, keep)) closure.addDataFile(file);
  };
  for (const companion of commonCompanions()) take(companion);
  for (const name of [...ALWAYS, ...programs])
    for (const companion of companionsOf(closure.addProgram(name))) take(companion);
  take({ paths });
  take({ paths: neutralHostFiles() });
  addDirectories(collector.tree);
  addEtc(collector.tree);
  await writeTree(collector.tree, root);
  await addRootModules(root, kernel);
  await addLoaderCache(root, warn);
  for (const path of ['usr/lib', 'usr', '.']) await lutimes(join(root, path), 0, 0);
  return [...collector.sources];
}
