import { setTimeout as sleep } from 'node:timers/promises';

import * as z from 'zod';

import type { Domain, Libvirt } from '../libvirt/index.ts';

/** QEMU goes on writing what nobody waits for any more until the next libvirtd has told it to stop. */
const DONE_WITHIN_MS = 30_000;
const LOOK_EVERY_MS = 50;
/** MigrationStatus of QEMU's monitor while it writes. */
const WRITES = new Set(['setup', 'active', 'device', 'cancelling', 'pre-switchover', 'wait-unplug']);

const answerSchema = z.object({ status: z.string().optional(), running: z.boolean().optional() });

/**
 * A libvirtd that dies while the memory of a running machine is written leaves QEMU at it, which stops the machine when all is written. The next libvirtd may believe that it runs (seen with 9.0): it refuses to
 * resume it then, and a suspension changes nothing that it would see. Waits until QEMU is done, and has such a machine run.
 */
export async function letRunAsBelieved(libvirt: Libvirt, domain: Domain): Promise<void> {
  const ask = async (execute: string) =>
    answerSchema.parse(await libvirt.monitorCommand(domain, { execute }));
  const deadline = performance.now() + DONE_WITHIN_MS;
  while (WRITES.has((await ask('query-migrate')).status ?? '') && performance.now() < deadline)
    await sleep(LOOK_EVERY_MS);
  const { running } = await ask('query-status');
  if (running !== false || (await libvirt.state(domain)).state === 'paused') return;
  await libvirt.monitorCommand(domain, { execute: 'cont' });
}
