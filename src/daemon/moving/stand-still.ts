import { type Domain, isLibvirtError } from '../../libvirt/index.ts';
import type { Node } from '../node.ts';

/** libvirtd is restarted within seconds. */
const LIBVIRT_BACK_MS = 15_000;

/** Stops a machine's vCPUs, or sees that they are stopped. A libvirtd that died in the middle is waited for: the machine has not heard of its death, and runs on. */
export async function standStill({ context }: Node, domain: Domain): Promise<void> {
  await context.hypervisor.suspend(domain).catch(async (error: unknown) => {
    if (isLibvirtError(error)) throw error;
    await context.hypervisor.ready(LIBVIRT_BACK_MS);
    await context.hypervisor.suspend(domain);
  });
}

/** Lets a machine that stands still run for some milliseconds: QEMU does not write the memory of one a second time that has not run since (`isSavedBefore`). */
export async function runBriefly(node: Node, domain: Domain): Promise<void> {
  await node.context.hypervisor.resume(domain);
  await standStill(node, domain);
}
