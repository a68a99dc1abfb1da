import { type Domain, isLibvirtError } from '../../libvirt/index.ts';
import type { Node } from '../node.ts';

/** libvirtd is restarted within seconds. */
const LIBVIRT_BACK_MS = 15_000;

/** Stops a machine's vCPUs, or sees that they are stopped. A libvirtd that died in the middle is waited for: the machine has not heard of its death, and runs on. */
export async function standStill({ context }: Pick<Node, 'context'>, domain: Domain): Promise<void> {
  await context.hypervisor.suspend(domain).catch(async (error: unknown) => {
    if (isLibvirtError(error)) throw error;
    await context.hypervisor.ready(LIBVIRT_BACK_MS);
    await context.hypervisor.suspend(domain);
  });
}

/**
 * Lets a machine that stands still run for some milliseconds: QEMU neither writes the memory of one a second time, nor lets it go to another node, that has not run since (`isSavedBefore`), and
 * nothing else takes it out of that state. When this rejects it may run.
 */
export async function runBriefly({ context }: Pick<Node, 'context'>, domain: Domain): Promise<void> {
  await context.hypervisor.resume(domain);
  await standStill({ context }, domain);
}
