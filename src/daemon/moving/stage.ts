import type { Domain } from '../../libvirt/index.ts';
import { CaddisError, messageOf } from '../../model/errors.ts';
import { isMissedInstant } from '../../vm/live-image.ts';
import type { Guest } from '../guest.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { demandAwake, isAwake, PAUSE_TIMEOUT_MS } from './at-rest.ts';
import type { SavedSessions } from './moved-sessions.ts';
import { stageLive } from './stage-live.ts';
import { stageStanding } from './stage-standing.ts';
import type { Staged } from './staged.ts';

const ATTEMPTS = 3;

export interface Standing {
  readonly sessions: SavedSessions;
  readonly domainXml: string;
  /** Its size may change while it is copied. */
  readonly as: Pick<Job, 'facts' | 'sizes'>;
}

/** What a job that goes on has at the moment of its checkpoint. */
export interface Running {
  readonly job: Job;
  readonly domain: Domain;
  readonly guest: Guest;
}

/**
 * Stages memory and scratch disk of a running job on this node, both of the same instant, at which its processes stand still with nothing unwritten; it goes on when this resolves. `pauseMs` takes the parts
 * of the time for which it stood still. Throws CaddisError when the job cannot be saved now, or would stand still for longer than the site allows.
 */
export async function stage(
  node: Node,
  job: Job,
  staged: Staged,
  pauseMs: Record<string, number>,
): Promise<Standing> {
  const { domain, guest } = job.resources;
  demandAwake(job);
  if (!domain || !guest) throw new CaddisError('the job has no machine any more');
  const domainXml = await node.context.hypervisor.restorableXml(domain);
  const as = structuredClone({ facts: job.facts, sizes: job.sizes });
  const running = { job, domain, guest };
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++)
    try {
      demandAwake(job);
      const sessions = await goingOn(running, pauseMs, () =>
        stageLive(node, running, staged, { pauseMs, attempt }),
      );
      if (!sessions) break;
      return { sessions, domainXml, as };
    } catch (error) {
      if (!isMissedInstant(error)) throw error;
      job.log.info(`${messageOf(error)} (attempt ${attempt} of ${ATTEMPTS})`, pauseMs);
    }
  demandAwake(job);
  const sessions = await goingOn(running, pauseMs, () => stageStanding(node, running, staged, pauseMs));
  return { sessions, domainXml, as };
}

/** Whatever came of it, the job's processes go on. One whose machine stands still does so when it hears of it, or when its agent says that they do not: see Guest. */
async function goingOn<T>(
  { job, guest }: Running,
  pauseMs: Record<string, number>,
  work: () => Promise<T>,
): Promise<T> {
  for (const part of Object.keys(pauseMs)) delete pauseMs[part];
  try {
    return await work();
  } finally {
    const begun = performance.now();
    const signal = job.phaseSignal;
    const told = guest.pause('go-on', { timeoutMs: PAUSE_TIMEOUT_MS, signal }).catch((error: unknown) => {
      if (isAwake(job)) job.log.warn(`the job could not be told to go on: ${messageOf(error)}`);
    });
    if (isAwake(job)) await told;
    pauseMs.go_on = Math.round(performance.now() - begun);
  }
}
