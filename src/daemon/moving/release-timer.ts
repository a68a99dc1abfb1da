import { setTimeout as sleep } from 'node:timers/promises';

import { type ReleaseSettings, releaseDue } from '../../jobs/release-due.ts';
import { messageOf } from '../../model/errors.ts';
import { memAvailableBytes } from '../../vm/capacity.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { whyNotSaved } from './why-not-saved.ts';

const LOOK_EVERY_MS = 1_000;
/** One that could not be written out (a full store) is not tried again before. */
const AGAIN_AFTER_MS = 60_000;

/** Has suspended machines give their memory back, as the site says (suspend.release_after, suspend.release_below), until `stop`. */
export async function releaseWhenDue(node: Node, stop: AbortSignal): Promise<void> {
  const { release_after: after, release_below: belowBytes } = node.config.suspend;
  if (after === 0 && belowBytes === 0) return;
  const tried = new WeakMap<Job, number>();
  while (!stop.aborted) {
    await sleep(LOOK_EVERY_MS, undefined, { signal: stop, ref: false }).catch(() => undefined);
    await look(node, { afterMs: after * 1000, belowBytes }, tried).catch((error: unknown) =>
      node.log.warn(`suspended machines could not be looked at: ${messageOf(error)}`),
    );
  }
}

async function look(node: Node, settings: ReleaseSettings, tried: WeakMap<Job, number>): Promise<void> {
  const now = performance.now();
  const frozen = node.jobs.all().flatMap((job) => {
    const { phase, asking } = job.state;
    const isTired = now - (tried.get(job) ?? Number.NEGATIVE_INFINITY) < AGAIN_AFTER_MS;
    if (phase !== 'frozen' || asking || job.frozenSinceMs === undefined || isTired) return [];
    return whyNotSaved(node, job) === undefined ? [{ job, frozenMs: now - job.frozenSinceMs }] : [];
  });
  if (frozen.length === 0) return;
  for (const { job } of releaseDue(frozen, settings, await memAvailableBytes())) {
    tried.set(job, now);
    job.dispatch({ type: 'release' }).catch((error: unknown) => job.log.error(messageOf(error)));
  }
}
