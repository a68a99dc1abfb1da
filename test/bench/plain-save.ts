import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

import type { Lab, LabHost } from '../lab/host.ts';
import { on } from '../lab/process.ts';
import type { Figures } from './bench.ts';
import { ddSeconds } from './dd.ts';
import { rounded } from './statistics.ts';

const TIMEOUT_MS = 300_000;

/** `virsh save` and `virsh restore` of a machine on the node's own disk, and dd of as many bytes beside them. The machine runs again afterwards. */
export async function plainSave(
  lab: Lab,
  node: LabHost,
  domain: string,
): Promise<{ figures: Figures; restoreMs: number }> {
  const directory = join(lab.paths.root, 'bench');
  const image = join(directory, `${domain}.save`);
  await mkdir(directory, { recursive: true });
  try {
    const saveMs = await timed(node, ['save', domain, image]);
    const { size } = await stat(image);
    const dd = await ddSeconds(node, directory, size);
    const restoreMs = await timed(node, ['restore', image]);
    return {
      restoreMs,
      figures: {
        save_seconds: rounded(saveMs / 1000),
        restore_seconds: rounded(restoreMs / 1000),
        image_bytes: size,
        dd_same_disk_fdatasync_seconds: rounded(dd),
      },
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function timed(node: LabHost, command: readonly string[]): Promise<number> {
  const began = performance.now();
  await on(node, ['virsh', '-c', 'qemu:///system', ...command], { timeoutMs: TIMEOUT_MS });
  return performance.now() - began;
}
