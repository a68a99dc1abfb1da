import { writeFile } from 'node:fs/promises';

import { messageOf } from '../../model/errors.ts';
import { qemuProcess } from '../../vm/qemu-process.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { isBorrower } from './lending.ts';

export const ORDINARY_WEIGHT = 1;
/** Of an ordinary machine's share of the CPUs. */
export const LOW_WEIGHT = 0.1;
/** The kernel's least. */
export const LEAST_WEIGHT = 0;
/** The first that the kernel takes when memory is out. */
const OOM_SCORE_FIRST = 1000;

/** A machine that runs in what others have reserved gives way by itself: little weight, and the kernel's first victim if all else fails. Before any step runs in it. */
export async function giveWay(node: Node, job: Job): Promise<void> {
  const { domain } = job.resources;
  if (!domain || !isBorrower(node, job)) return;
  try {
    const qemu = await qemuProcess(job.machine);
    if (qemu) await writeFile(`/proc/${qemu.pid}/oom_score_adj`, `${OOM_SCORE_FIRST}`);
    await node.context.hypervisor.setCpuWeight(domain, LOW_WEIGHT);
  } catch (error) {
    // Owners have other means against it.
    job.log.warn(`it does not give way by itself: ${messageOf(error)}`);
  }
}
