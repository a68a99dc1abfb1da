import { messageOf } from '../../model/errors.ts';
import { formatKey, type JobKey } from '../../model/job.ts';
import type { Node } from '../node.ts';
import type { Checkpoints } from './checkpoints.ts';
import { releaseAddresses } from './discard.ts';

/** How often anybody looks after the whole store: each look asks the schedulers about jobs whose nodes are gone. */
const EVERY_MS = 10 * 60_000;
/** Beyond the bounds on a save and on a copy (30 min): whoever writes for longer has stopped. */
const DRAFT_IDLE_MS = 60 * 60_000;
const ASK_TIMEOUT_MS = 10_000;

/**
 * Removes from the store what crashes left there, and jobs that no scheduler knows any more and that nobody has touched for checkpoint.retention: those of nodes that are gone,
 * since every node looks after its own (`discardForgotten`). One node of the site does it at a time. Throws StoreUnavailable.
 */
export async function tidyStore(node: Node, checkpoints: Checkpoints): Promise<void> {
  const { store, custody, settings } = checkpoints;
  if (!(await store.takeTurn(EVERY_MS))) return;
  const beating = await custody.hostsThatBeat();
  const swept = await store.sweep({
    olderThanMs: DRAFT_IDLE_MS,
    isWanted: ({ owner }) =>
      owner !== undefined && owner.host !== custody.self.host && beating.has(owner.host),
  });
  if (swept.length > 0) node.log.info(`removed what was left over in the store: ${swept.join(', ')}`);
  const expired = await store.expire({
    olderThanMs: settings.retention * 1000,
    isWanted: async (key) => {
      if (await isWanted(node, key)) return true;
      await releaseAddresses(node, checkpoints, key);
      return false;
    },
  });
  for (const key of expired)
    node.log.info(`${formatKey(key)}: its checkpoints are older than checkpoint.retention and are removed`);
}

/** Without an answer, or where nobody here could give one, it stays. */
async function isWanted({ jobs, schedulers, log }: Node, key: JobKey): Promise<boolean> {
  if (jobs.ofKey(key).length > 0) return true;
  const wanted = await schedulers
    .get(key.scheduler)
    ?.isWanted(key, AbortSignal.timeout(ASK_TIMEOUT_MS))
    .catch((error: unknown) => {
      log.warn(`${formatKey(key)}: its scheduler was not heard: ${messageOf(error)}`);
      return undefined;
    });
  return wanted !== false;
}
