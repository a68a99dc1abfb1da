import { CaddisError } from '../../model/errors.ts';
import type { Guest } from '../guest.ts';
import type { Job } from '../job.ts';
import { type SavedSessions, savedStanding } from './moved-sessions.ts';

/** Bound on what a guest takes to stop its job, or to let it go on. */
export const PAUSE_TIMEOUT_MS = 10_000;
export const STAGE_TIMEOUT_MS = 10 * 60_000;

export function isAwake({ state }: Job): boolean {
  return state.phase === 'ready' || state.phase === 'running';
}

/** Throws CaddisError for one that is suspended, leaves or has ended. */
export function demandAwake(job: Job): void {
  if (!isAwake(job)) throw new CaddisError(`the job is ${job.state.phase}: nothing to save`);
}

/** How the steps of a job stand whose processes stand still inside the guest. */
export async function standing(job: Job, guest: Guest): Promise<SavedSessions> {
  const stand = await guest.stand();
  if (!stand) throw new CaddisError('its output does not come to rest: somebody does not read it');
  return savedStanding(job, stand);
}
