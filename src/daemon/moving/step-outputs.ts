import { constants } from 'node:fs';
import { readFile, readlink, stat } from 'node:fs/promises';

/** A regular file that a step's output goes to, and how long it was (or where its client stood in it) before the stream's first byte. */
export interface OutputFile {
  readonly path: string;
  readonly device: bigint;
  readonly inode: bigint;
  readonly base: bigint;
}

/** stdout, stderr; undefined: no regular file, or one without a name. */
export type StepOutputs = readonly [OutputFile | undefined, OutputFile | undefined];

/** Where a client that has just come stands in its output files, when it has delivered so many bytes of each stream. */
export async function outputsOf(
  pid: number,
  delivered: readonly [bigint, bigint] = [0n, 0n],
): Promise<StepOutputs> {
  return [await outputAt(pid, 1, delivered[0]), await outputAt(pid, 2, delivered[1])];
}

async function outputAt(pid: number, fd: number, delivered: bigint): Promise<OutputFile | undefined> {
  const path = await pathOf(pid, fd);
  const found = await stat(`/proc/${pid}/fd/${fd}`, { bigint: true }).catch(() => undefined);
  const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8').catch(() => '');
  const position = /^pos:\s+(\d+)$/m.exec(info)?.[1];
  const flags = Number.parseInt(/^flags:\s+(\d+)$/m.exec(info)?.[1] ?? '0', 8);
  if (path === undefined || !found?.isFile() || position === undefined) return undefined;
  const at = flags & constants.O_APPEND ? found.size : BigInt(position);
  return { path, device: found.dev, inode: found.ino, base: at - delivered };
}

/** Path of the file that a descriptor of another process is open on; undefined for pipes, terminals and files without a name. */
export async function pathOf(pid: number, fd: number): Promise<string | undefined> {
  const path = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
  return path.startsWith('/') && !path.endsWith(' (deleted)') ? path : undefined;
}
