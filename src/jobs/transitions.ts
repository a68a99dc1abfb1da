import type { Verdict } from '../model/job.ts';

/**
 * The life of one job's machine as a pure function: an event and the state give the next state and the steps to carry out. Only the executor in `daemon/` touches
 * anything; the tests need no machine.
 *
 *   starting -> ready <-> running <-> frozen -> saving -> saved -> parked
 *        \         \________\___________\_________\_________\_________\____ ending -> ended
 *         failed (the job goes back to the queue)
 */
type Phase = 'starting' | 'ready' | 'running' | 'frozen' | 'saving' | 'saved' | 'parked' | 'ending' | 'ended';

export type SaveReason = 'requeue' | 'migrate';

export interface JobState {
  readonly phase: Phase;
  /** Steps that run in the guest now. */
  readonly steps: number;
  /** Set when the machine went away under the job; the epilog must not report it again. */
  readonly lost: string | undefined;
  /** The machine stands still because the scheduler has not yet said what a signal meant. */
  readonly asking: boolean;
  /** The scheduler has let go of this node: once the machine is saved nothing of it is needed here. */
  readonly released: boolean;
  /** A checkpoint of this machine needs its address. */
  readonly keepAddress: boolean;
}

export const INITIAL_STATE: JobState = {
  phase: 'starting',
  steps: 0,
  lost: undefined,
  asking: false,
  released: false,
  keepAddress: false,
};

export type JobEvent =
  | { readonly type: 'machine-ready' }
  /** The machine could not be made: admission, boot, set-up. */
  | { readonly type: 'start-failed'; readonly reason: string; readonly keepAddress?: boolean }
  | { readonly type: 'step-opened' }
  | { readonly type: 'step-ended' }
  /** A signal reached a shim that may mean suspend, requeue, resume or what it says; 0: the machine was found standing still. */
  | { readonly type: 'halted'; readonly signal: number }
  | { readonly type: 'answered'; readonly verdict: Verdict }
  /** The scheduler's own suspend and resume methods, which leave nothing to ask. */
  | { readonly type: 'suspend' }
  | { readonly type: 'resume' }
  /** The scheduler, or an admin through it, wants the machine elsewhere. */
  | { readonly type: 'move' }
  | { readonly type: 'saved' }
  | { readonly type: 'save-failed'; readonly reason: string }
  /** A parked machine has stood long enough, or is in the way. */
  | { readonly type: 'park-over' }
  /** The job's next start on this very host goes on with the parked machine. */
  | { readonly type: 'taken-over' }
  /** The domain stopped, or its agent fell silent for good, and nobody asked for it. */
  | { readonly type: 'machine-lost'; readonly reason: string }
  | { readonly type: 'epilog'; readonly requeued: boolean }
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
  /** Stop all vCPUs. */
  | { readonly do: 'freeze' }
  /** Let them go on, with the right time. */
  | { readonly do: 'thaw' }
  /** Ask the scheduler, once, what its signal meant; gives `answered`. */
  | { readonly do: 'ask'; readonly signal: number }
  /** Hand the signals that were held back to the processes, or forget them. */
  | { readonly do: 'let-signals-go'; readonly deliver: boolean }
  /** Write the machine into the store and let its shims end; gives `saved` or `save-failed`. */
  | { readonly do: 'save'; readonly reason: SaveReason }
  /** Leave the saved machine where it is, frozen, for the job's next start; gives `park-over` where that cannot be. */
  | { readonly do: 'park' }
  /** Forget a machine that is another's now. */
  | { readonly do: 'hand-on' }
  /** Tell the scheduler, which requeues or fails the job. */
  | { readonly do: 'report-lost'; readonly reason: string }
  /** Remove what the store holds of the job, if its scheduler will not run it again. */
  | { readonly do: 'discard' }
  | { readonly do: 'destroy' }
  /** Give back scratch disk and directory, and the address unless the saved machine keeps it. */
  | { readonly do: 'release'; readonly keepAddress: boolean };

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
      return {
        state: { ...state, phase: 'ending', keepAddress: event.keepAddress === true },
        steps: [{ do: 'destroy' }],
      };
    case 'step-opened':
      if (!isAwake(state) && state.phase !== 'frozen') return stay(state);
      return stay(settled({ ...state, steps: state.steps + 1 }));
    case 'step-ended':
      return stay(settled({ ...state, steps: Math.max(0, state.steps - 1) }));
    case 'halted':
      if (isAwake(state))
        return {
          state: { ...state, phase: 'frozen', asking: true },
          steps: [{ do: 'freeze' }, { do: 'ask', signal: event.signal }],
        };
      if (state.phase !== 'frozen' || state.asking) return stay(state);
      return { state: { ...state, asking: true }, steps: [{ do: 'ask', signal: event.signal }] };
    case 'answered':
      return answered(state, event.verdict);
    case 'suspend':
      if (!isAwake(state)) return stay(state);
      return { state: { ...state, phase: 'frozen', asking: false }, steps: [{ do: 'freeze' }] };
    case 'resume':
      if (state.phase !== 'frozen' || state.asking) return stay(state);
      return thaw(state, true);
    case 'move':
      if (!isAwake(state) && state.phase !== 'frozen') return stay(state);
      return save(state, 'migrate');
    case 'saved':
      if (state.phase !== 'saving') return stay(state);
      return state.released ? park(state) : stay({ ...state, phase: 'saved' });
    case 'park-over':
      if (state.phase !== 'parked') return stay(state);
      return { state: { ...state, phase: 'saved' }, steps: SAVED_END };
    case 'taken-over':
      if (state.phase !== 'parked') return stay(state);
      return { state: { ...state, phase: 'ended', steps: 0 }, steps: [{ do: 'hand-on' }] };
    case 'save-failed':
      if (state.phase !== 'saving') return stay(state);
      // The job starts again from an older checkpoint, or afresh: its shims were told to end.
      return { state: { ...state, phase: 'ending' }, steps: [{ do: 'unpublish' }, { do: 'destroy' }] };
    case 'machine-lost':
      return lose(state, event.reason);
    case 'epilog':
      return epilog(state, event.requeued);
    case 'orphaned':
      return epilog(state, false);
    case 'destroyed':
      if (state.phase === 'ended') return stay(state);
      return {
        state: { ...state, phase: 'ended', steps: 0 },
        steps: [{ do: 'release', keepAddress: state.phase === 'saved' || state.keepAddress }],
      };
  }
}

/** The scheduler has let go of the node, and the store has the machine: here it waits for a while for the job's next start. */
function park(state: JobState): Transition {
  return { state: { ...state, phase: 'parked' }, steps: [{ do: 'park' }] };
}

const SAVED_END: readonly JobStep[] = [{ do: 'destroy' }, { do: 'discard' }];

function answered(state: JobState, verdict: Verdict): Transition {
  if (state.phase !== 'frozen' || !state.asking) return stay(state);
  switch (verdict) {
    case 'deliver':
      return thaw(state, true);
    case 'suspended':
      return { state: { ...state, asking: false }, steps: [{ do: 'let-signals-go', deliver: false }] };
    case 'requeued':
      return save(state, 'requeue');
  }
}

function thaw(state: JobState, deliver: boolean): Transition {
  return {
    state: settled({ ...state, phase: 'ready', asking: false }),
    steps: [{ do: 'thaw' }, { do: 'let-signals-go', deliver }],
  };
}

/** Frozen first, as a step of its own: libvirt thaws a running guest when its save is cancelled. */
function save(state: JobState, reason: SaveReason): Transition {
  const freeze: JobStep[] = isAwake(state) ? [{ do: 'freeze' }] : [];
  return {
    state: { ...state, phase: 'saving', asking: false },
    steps: [...freeze, { do: 'unpublish' }, { do: 'save', reason }],
  };
}

function epilog(state: JobState, requeued: boolean): Transition {
  switch (state.phase) {
    case 'saving':
      // Grid Engine's epilog is not told that the job migrates: whether the checkpoint is wanted is asked when it is there.
      return stay({ ...state, released: true });
    case 'saved':
      return state.released ? stay(state) : park({ ...state, released: true });
    case 'parked':
      // Of a run that never came so far as to have a machine.
      return stay(state);
    case 'ready':
    case 'running':
    case 'frozen': {
      if (!requeued || state.lost !== undefined) return end(state);
      const { state: saving, steps } = save(state, 'requeue');
      return { state: { ...saving, released: true }, steps };
    }
    default:
      return end(state);
  }
}

function end(state: JobState): Transition {
  if (state.phase === 'ending' || state.phase === 'ended') return stay(state);
  return {
    state: { ...state, phase: 'ending' },
    steps: [
      { do: 'unpublish' },
      { do: 'end-steps', reason: 'the job has ended' },
      { do: 'destroy' },
      { do: 'discard' },
    ],
  };
}

/** A machine that is lost while it starts is the start's own failure; one that is ending was meant to go; one that is being saved fails its save; a parked one is in the store. */
function lose(state: JobState, reason: string): Transition {
  switch (state.phase) {
    case 'starting':
    case 'saving':
    case 'saved':
    case 'ending':
    case 'ended':
      return stay(state);
    case 'parked':
      // It went where the job goes on; or died, and then the store has it.
      return transition(state, { type: 'park-over' });
    case 'ready':
    case 'running':
    case 'frozen':
      if (state.lost !== undefined) return stay(state);
      return {
        state: { ...state, lost: reason },
        // The scheduler is told first: once the shims are gone it would count the job as finished.
        steps: [{ do: 'unpublish' }, { do: 'report-lost', reason }, { do: 'end-steps', reason }],
      };
  }
}

function isAwake(state: JobState): boolean {
  return state.phase === 'ready' || state.phase === 'running';
}

/** A machine that is awake is running exactly while a step runs. */
function settled(state: JobState): JobState {
  return isAwake(state) ? { ...state, phase: state.steps > 0 ? 'running' : 'ready' } : state;
}

function stay(state: JobState): Transition {
  return { state, steps: [] };
}
