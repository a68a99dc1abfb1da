import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

import type { Lab, LabHost } from '../lab/host.ts';
import { on } from '../lab/process.ts';
import type { Figures } from './bench.ts';
import { ddSeconds } from './dd.ts';
import { rounded } from './statistics.ts';

const TIMEOUT_MS = 300_000;

/**
 * `virsh save` and `virsh restore` of a machine on the node's own disk, dd of as many bytes beside them, and `virsh restore` from the store, where a checkpoint's image is: libvirt cannot save into
 * a store that squashes root. The machine runs again afterwards.
 */
export async function plainSave(
  lab: Lab,
  node: LabHost,
  domain: string,
): Promise<{ figures: Figures; restoreMs: { ownDisk: number; store: number } }> {
  const directory = join(lab.paths.root, 'bench');
  const image = join(directory, `${domain}.save`);
  const stored = join(lab.paths.store, '.bench-save');
  await mkdir(directory, { recursive: true });
  try {
    const saveMs = await timed(node, ['save', domain, image]);
    const { size } = await stat(image);
    const dd = await ddSeconds(node, directory, size);
    const restoreMs = await timed(node, ['restore', image]);
    await timed(node, ['save', domain, image]);
    await on(node, ['dd', `if=${image}`, `of=${stored}`, 'bs=4M', 'conv=fsync', 'status=none'], {
      timeoutMs: TIMEOUT_MS,
    });
    const restoreFromStoreMs = await timed(node, ['restore', stored]);
    return {
      restoreMs: { ownDisk: restoreMs, store: restoreFromStoreMs },
      figures: {
        save_seconds: rounded(saveMs / 1000),
        restore_seconds: rounded(restoreMs / 1000),
        restore_from_store_seconds: rounded(restoreFromStoreMs / 1000),
        image_bytes: size,
        dd_same_disk_fdatasync_seconds: rounded(dd),
      },
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
    await on(node, ['rm', '-f', stored]);
  }
}

async function timed(node: LabHost, command: readonly string[]): Promise<number> {
  const began = performance.now();
  await on(node, ['virsh', '-c', 'qemu:///system', ...command], { timeoutMs: TIMEOUT_MS });
  return performance.now() - began;
}
