import { constants } from 'node:fs';
import { copyFile } from 'node:fs/promises';

import { execa } from 'execa';

import { mapExtents, packedBytes } from '../../checkpoint/extents.ts';

const COPY_TIMEOUT_MS = 10 * 60_000;
/** What a copy on this node's own file systems moves at least: with it a pause is judged beforehand. */
export const COPY_BYTES_PER_MS = 300e3;
const COPY_WHEN_TOLD = 'read -r go && exec cp --sparse=always -- "$1" "$2"';

export interface ScratchCopy {
  /** How long it takes about. */
  readonly expectedMs: number;
  /** The machine must stand still. */
  make(): Promise<void>;
  /** Nobody wants it any more. */
  cancel(): void;
}

/**
 * Has all ready for a copy of a scratch disk, for which its job stands still: to start a process takes a caddisd many milliseconds. A file system that shares blocks needs none, and no time, whatever the size; it
 * is tried on the disk itself.
 */
export async function prepareScratchCopy(scratch: string, to: string): Promise<ScratchCopy> {
  const clone = () => copyFile(scratch, to, constants.COPYFILE_FICLONE_FORCE);
  const isCloned = await clone().then(
    () => true,
    () => false,
  );
  if (isCloned) return { expectedMs: 0, make: clone, cancel: () => undefined };
  const expectedMs = packedBytes(await mapExtents(scratch)) / COPY_BYTES_PER_MS;
  const copier = execa('sh', ['-c', COPY_WHEN_TOLD, 'sh', scratch, to], { timeout: COPY_TIMEOUT_MS });
  // Whoever has it made hears of it.
  copier.catch(() => undefined);
  return {
    expectedMs,
    make: async () => {
      copier.stdin.write('go\n');
      await copier;
    },
    cancel: () => copier.stdin.destroy(),
  };
}
