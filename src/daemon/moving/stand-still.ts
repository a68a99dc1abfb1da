import { type Domain, isLibvirtError } from '../../libvirt/index.ts';
import type { Job } from '../job.ts';
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
 * Stops a job's machine for as long as nobody resumes it. A checkpoint that is being taken of it is given up: at its end libvirt would start the machine, and may do so for some milliseconds before this
 * resolves.
 */
export async function stopMachine(node: Pick<Node, 'context'>, job: Job, domain: Domain): Promise<void> {
  const { live } = job;
  await live?.begun;
  await standStill(node, domain);
  if (!live) return;
  await live.abandon();
  await standStill(node, domain);
}

/**
 * Lets a machine that stands still run for some milliseconds: QEMU neither writes the memory of one a second time, nor lets it go to another node, that has not run since (`isSavedBefore`), and
 * nothing else takes it out of that state. When this rejects it may run.
 */
export async function runBriefly({ context }: Pick<Node, 'context'>, domain: Domain): Promise<void> {
  await context.hypervisor.resume(domain);
  await standStill({ context }, domain);
}
