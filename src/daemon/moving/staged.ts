import { readdir, rm, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { CaddisError } from '../../model/errors.ts';
import { formatBytes } from '../../model/units.ts';
import { memAvailableBytes } from '../../vm/capacity.ts';
import { letIoHelpersGo } from '../../vm/io-helper.ts';
import { qemuProcess, residentBytes } from '../../vm/qemu-process.ts';
import type { NodeContext } from '../start-machine.ts';
import { COPY_BYTES_PER_MS } from './scratch-copy.ts';

const ABORTED_MS = 10_000;
const ABORTED_LOOK_MS = 20;
/** Of what a machine holds of the host. */
const ROOM_TIMES = 1.5;
/** statfs(2). */
const TMPFS = 0x01021994;
const IMAGE = /^(caddis-[0-9a-f]{12})\.memory$/;
const SCRATCH = /^\.(caddis-[0-9a-f]{12})\.snapshot$/;

/** Where the images of a job that goes on are, until they are in the store. */
export interface Staged {
  readonly memory: string;
  /** Beside the disk itself: where the file system can, it is copied without copying a byte. */
  readonly scratch: string;
  /** For the memory. */
  readonly roomBytes: number;
  /** What libvirt takes to have the memory on disk before it lets the machine go on; nothing where it is no disk. */
  readonly syncMs: number;
}

/** Where images of this machine are staged. Throws CaddisError when no file system has room for its memory. */
export async function placeFor(context: NodeContext, machine: string): Promise<Staged> {
  const scratch = join(context.config.scratch.dir, `.${machine}.snapshot`);
  const qemu = await qemuProcess(machine);
  // What it writes over meanwhile is written twice.
  const bytes = qemu ? ROOM_TIMES * (await residentBytes(qemu.pid)) : 0;
  const dirs = dirsOf(context);
  for (const dir of dirs) {
    const { freeBytes, isMemory } = await roomIn(dir, context);
    if (freeBytes < bytes) continue;
    return {
      memory: join(dir, `${machine}.memory`),
      scratch,
      roomBytes: freeBytes,
      syncMs: isMemory ? 0 : bytes / COPY_BYTES_PER_MS,
    };
  }
  throw new CaddisError(`no room for ${formatBytes(bytes)} of memory in ${dirs.join(' or ')}`);
}

/** A tmpfs is memory of the host: no more of it is taken than machines may have, and what is taken is missing from what the next machine may have (admitMemory). */
async function roomIn(dir: string, { config: { vm } }: NodeContext) {
  const { type, bavail, bsize } = await statfs(dir);
  const freeBytes = bavail * bsize;
  if (type !== TMPFS) return { freeBytes, isMemory: false };
  return { freeBytes: Math.min(freeBytes, (await memAvailableBytes()) - vm.reserve_memory), isMemory: true };
}

export async function removeStaged(staged: Staged): Promise<void> {
  for (const path of [staged.memory, staged.scratch]) await rm(path, { force: true });
}

/**
 * Gives up what a caddisd that died was staging; resolves with the machines of which it was. It may have held up what writes an image, and until that is over libvirt lets nobody at the machine; then it has
 * started it, whoever suspended it meanwhile.
 */
export async function endStaging(
  context: NodeContext,
  isInUse: (machine: string) => boolean,
): Promise<ReadonlySet<string>> {
  const { hypervisor } = context;
  const dirs = dirsOf(context);
  const machineOf = (path: string) => {
    const machine = dirs.includes(dirname(path)) ? IMAGE.exec(basename(path))?.[1] : undefined;
    return machine === undefined || isInUse(machine) ? undefined : machine;
  };
  for (const path of await letIoHelpersGo((path) => machineOf(path) !== undefined)) {
    const domain = await hypervisor.find(machineOf(path) as string).catch(() => undefined);
    if (!domain) continue;
    await hypervisor.abortJob(domain).catch(() => undefined);
    const deadline = performance.now() + ABORTED_MS;
    while ((await hypervisor.isBusy(domain).catch(() => false)) && performance.now() < deadline)
      await sleep(ABORTED_LOOK_MS);
  }
  const staged = new Set((await stagedFiles(context)).map(({ machine }) => machine));
  for (const machine of staged)
    if (isInUse(machine)) staged.delete(machine);
    else
      await hypervisor
        .find(machine)
        .then((domain) => hypervisor.afterLostSave(domain))
        .catch(() => undefined);
  return staged;
}

/** Removes images of machines of which none is being written. */
export async function sweepStaged(
  context: NodeContext,
  isInUse: (machine: string) => boolean,
): Promise<void> {
  for (const { machine, path } of await stagedFiles(context))
    if (!isInUse(machine)) await rm(path, { force: true });
}

async function stagedFiles(context: NodeContext): Promise<{ machine: string; path: string }[]> {
  const found = await Promise.all(
    dirsOf(context).map(async (dir) => {
      const files = await readdir(dir).catch(() => [] as string[]);
      return files.flatMap((file) => {
        const machine = (IMAGE.exec(file) ?? SCRATCH.exec(file))?.[1];
        return machine === undefined ? [] : [{ machine, path: join(dir, file) }];
      });
    }),
  );
  return found.flat();
}

/** In the order in which they are tried. */
function dirsOf({ checkpoints, config }: NodeContext): string[] {
  return [...(checkpoints ? [checkpoints.settings.staging_dir] : []), config.scratch.dir];
}
