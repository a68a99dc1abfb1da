import { mkdir, rename, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { execa } from 'execa';

import { programs } from './layout.ts';

/** Builds labhost and subreaper where the source is newer than the program (0.3 s; else two stats). */
export async function buildPrograms(): Promise<void> {
  await Promise.all(Object.values(programs).map(build));
}

async function build(program: string): Promise<void> {
  const source = join(import.meta.dirname, `${basename(program)}.c`);
  const [built, written] = await Promise.all([mtimeMs(program), mtimeMs(source)]);
  if (built > written) return;
  await mkdir(dirname(program), { recursive: true });
  // Beside and renamed: the running lab may hold the old program open, and writing to that fails (ETXTBSY).
  const beside = `${program}.${process.pid}`;
  const flags = ['-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', '-static'];
  await execa('musl-gcc', [...flags, '-o', beside, source], { timeout: 60_000 });
  await rename(beside, program);
}

async function mtimeMs(path: string): Promise<number> {
  return await stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}
