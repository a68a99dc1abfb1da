import type { Where } from '../integration/support/batch.ts';
import type { Lab } from '../lab/host.ts';
import { bash } from './on-node.ts';

const PARTITION: Record<Where, string> = { native: 'native', vm: 'main' };

/** Limits of 30 minutes and 60 s of waiting: a bench that was killed leaves nothing behind for long, and a full cluster is said at once. */
/** An allocation of alice's on a node, with one step run in it so that its machine is there, for as long as `use` lasts. */
export async function withAllocation<T>(
  lab: Lab,
  of: { node: string; where: Where; memory?: string },
  use: (jobId: string) => Promise<T>,
): Promise<T> {
  const { node, where, memory = '300M' } = of;
  const granted = await bash(lab, {
    host: 'head',
    script: `salloc --no-shell -t 30 -I60 -p ${PARTITION[where]} -w ${node} -n1 --mem=${memory} -J bench 2>&1`,
  });
  const jobId = /allocation (\d+)/.exec(granted)?.[1];
  if (!jobId) throw new Error(`salloc: expected "Granted job allocation N", got: ${granted}`);
  try {
    await bash(lab, { host: 'head', script: `srun --jobid=${jobId} true` });
    return await use(jobId);
  } finally {
    await bash(lab, { host: 'head', script: `scancel ${jobId}` });
  }
}
