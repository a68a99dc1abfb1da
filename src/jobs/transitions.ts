/**
 * The life of one job's machine as a pure function: an event and the state give the next state and the steps to carry out. Only the executor in `daemon/` touches
 * anything; the tests need no machine.
 *
 *   starting -> ready <-> running -> ending -> ended
 *        \         \________\___________/
 *         failed (the job goes back to the queue)
 */
type Phase = 'starting' | 'ready' | 'running' | 'ending' | 'ended';

export interface JobState {
  readonly phase: Phase;
  /** Steps that run in the guest now. */
  readonly steps: number;
  /** Set when the machine went away under the job; the epilog must not report it again. */
  readonly lost: string | undefined;
}

export const INITIAL_STATE: JobState = { phase: 'starting', steps: 0, lost: undefined };

export type JobEvent =
  | { readonly type: 'machine-ready' }
  /** The machine could not be made: admission, boot, set-up. */
  | { readonly type: 'start-failed'; readonly reason: string }
  | { readonly type: 'step-opened' }
  | { readonly type: 'step-ended' }
  /** The domain stopped, or its agent fell silent for good, and nobody asked for it. */
  | { readonly type: 'machine-lost'; readonly reason: string }
  | { readonly type: 'epilog' }
  /** The scheduler does not know the job on this node any more, and no epilog came (caddisd was down then). */
  | { readonly type: 'orphaned' }
  | { readonly type: 'destroyed' };

export type JobStep =
  /** Make the job's step socket and link visible: from here on steps go into the machine. */
  | { readonly do: 'publish' }
  /** Take them away: no step can be opened any more. */
  | { readonly do: 'unpublish' }
  /** End the shims of all steps with this reason. */
  | { readonly do: 'end-steps'; readonly reason: string }
  /** Tell the scheduler, which requeues or fails the job. */
  | { readonly do: 'report-lost'; readonly reason: string }
  | { readonly do: 'destroy' }
  /** Give back address, scratch disk and directory. */
  | { readonly do: 'release' };

export interface Transition {
  readonly state: JobState;
  readonly steps: readonly JobStep[];
}

export function transition(state: JobState, event: JobEvent): Transition {
  switch (event.type) {
    case 'machine-ready':
      if (state.phase !== 'starting') return stay(state);
      return { state: { ...state, phase: 'ready' }, steps: [{ do: 'publish' }] };
    case 'start-failed':
      if (state.phase !== 'starting') return stay(state);
      return { state: { ...state, phase: 'ending' }, steps: [{ do: 'destroy' }] };
    case 'step-opened':
      if (state.phase !== 'ready' && state.phase !== 'running') return stay(state);
      return { state: { ...state, phase: 'running', steps: state.steps + 1 }, steps: [] };
    case 'step-ended': {
      const steps = Math.max(0, state.steps - 1);
      const phase = state.phase === 'running' && steps === 0 ? 'ready' : state.phase;
      return { state: { ...state, steps, phase }, steps: [] };
    }
    case 'machine-lost':
      return lose(state, event.reason);
    case 'epilog':
    case 'orphaned':
      if (state.phase === 'ending' || state.phase === 'ended') return stay(state);
      return {
        state: { ...state, phase: 'ending' },
        steps: [{ do: 'unpublish' }, { do: 'end-steps', reason: 'the job has ended' }, { do: 'destroy' }],
      };
    case 'destroyed':
      if (state.phase === 'ended') return stay(state);
      return { state: { ...state, phase: 'ended', steps: 0 }, steps: [{ do: 'release' }] };
  }
}

/** A machine that is lost while it starts is the start's own failure; one that is ending was meant to go. */
function lose(state: JobState, reason: string): Transition {
  switch (state.phase) {
    case 'starting':
    case 'ended':
      return stay(state);
    case 'ending':
      return stay(state);
    case 'ready':
    case 'running':
      if (state.lost !== undefined) return stay(state);
      return {
        state: { ...state, lost: reason },
        // The scheduler is told first: once the shims are gone it would count the job as finished.
        steps: [{ do: 'unpublish' }, { do: 'report-lost', reason }, { do: 'end-steps', reason }],
      };
  }
}

function stay(state: JobState): Transition {
  return { state, steps: [] };
}
