import type { Verdict } from '../model/job.ts';

/**
 * The life of one job's machine as a pure function: an event and the state give the next state and the steps to carry out. Only the executor in `daemon/` touches
 * anything; the tests need no machine.
 *
 *   starting -> ready <-> running <-> frozen -> saving -> saved -> parked
 *        \         \________\___________\_________\_________\_________\____ ending -> ended
 *         failed (the job goes back to the queue)
 *
 * A suspended machine may give its memory back while its steps' clients wait: frozen -> releasing -> released -> restoring -> ready. While it is `releasing` it is a frozen
 * one: whatever comes then takes it back to `frozen`, and the write is given up.
 */
type Phase =
  | 'starting'
  | 'ready'
  | 'running'
  | 'frozen'
  | 'releasing'
  | 'released'
  | 'restoring'
  | 'saving'
  | 'saved'
  | 'parked'
  | 'ending'
  | 'ended';

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
  readonly letGo: boolean;
  /** Somebody had it stand still by a method of ours, and not by a signal of a scheduler that keeps its own books: its time limit does not know of it. */
  readonly owed: boolean;
  /** It stands still for the owners of what it runs in, and for nobody else: whoever else wants it to stand still takes that over. */
  readonly pressed: boolean;
  /** A machine that is being restored goes on once it is there. */
  readonly goesOn: boolean;
  /** A checkpoint of this machine needs its address. */
  readonly keepAddress: boolean;
}

export const INITIAL_STATE: JobState = {
  phase: 'starting',
  steps: 0,
  lost: undefined,
  asking: false,
  letGo: false,
  owed: false,
  pressed: false,
  goesOn: false,
  keepAddress: false,
};

export type JobEvent =
  | { readonly type: 'machine-ready' }
  /** A caddisd that takes over finds that the machine was released: it is in the store alone. */
  | { readonly type: 'found-released' }
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
  /** The owners of what it runs in want their CPUs or memory; and they do not any more. */
  | { readonly type: 'press' }
  | { readonly type: 'relieve' }
  /** The scheduler, or an admin through it, wants the machine elsewhere. */
  | { readonly type: 'move' }
  | { readonly type: 'saved' }
  | { readonly type: 'save-failed'; readonly reason: string }
  /** A suspended machine is to give its memory back. */
  | { readonly type: 'release' }
  | { readonly type: 'written-out' }
  | { readonly type: 'write-out-failed' }
  | { readonly type: 'restored' }
  /** `final`: it cannot go on elsewhere either. */
  | { readonly type: 'restore-failed'; readonly reason: string; readonly final: boolean }
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
  /** Let them go on, with the right time. `owed`: its time limit is to be extended by what it stood still. */
  | { readonly do: 'thaw'; readonly owed: boolean }
  /** Ask the scheduler, once, what its signal meant; gives `answered`. */
  | { readonly do: 'ask'; readonly signal: number }
  /** Hand the signals that were held back to the processes, or forget them. */
  | { readonly do: 'let-signals-go'; readonly deliver: boolean }
  /** Write the machine into the store and let its shims wait; gives `written-out` or `write-out-failed`. */
  | { readonly do: 'write-out' }
  /** End QEMU, and nothing else. */
  | { readonly do: 'power-off' }
  /** Make the machine again, standing still; gives `restored` or `restore-failed`. */
  | { readonly do: 'restore' }
  /** Tell a machine that was restored and goes on the time and new randomness. */
  | { readonly do: 'wake' }
  /** Have the scheduler start the job elsewhere, since it cannot go on here. */
  | { readonly do: 'send-back'; readonly reason: string }
  /** Write the machine into the store, unless it is there, and let its shims end; gives `saved` or `save-failed`. */
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

export function transition(before: JobState, event: JobEvent): Transition {
  const state = interruptsRelease(event) ? givenUp(before) : before;
  switch (event.type) {
    case 'machine-ready':
      if (state.phase !== 'starting') return stay(state);
      return { state: { ...state, phase: 'ready' }, steps: [{ do: 'publish' }] };
    case 'found-released':
      if (state.phase !== 'starting') return stay(state);
      return { state: { ...state, phase: 'released', keepAddress: true }, steps: [{ do: 'publish' }] };
    case 'start-failed':
      if (state.phase !== 'starting') return stay(state);
      return {
        state: { ...state, phase: 'ending', keepAddress: event.keepAddress === true },
        steps: [{ do: 'destroy' }],
      };
    case 'step-opened':
      if (!isAwake(state) && !isSuspended(state)) return stay(state);
      return stay(settled({ ...state, steps: state.steps + 1 }));
    case 'step-ended':
      return stay(settled({ ...state, steps: Math.max(0, state.steps - 1) }));
    case 'halted':
      if (isAwake(state))
        return {
          state: { ...state, phase: 'frozen', asking: true },
          steps: [{ do: 'freeze' }, { do: 'ask', signal: event.signal }],
        };
      if (!isSuspended(state) || state.asking) return stay(state);
      // What it meant is asked when the machine is there, if it is being restored.
      return {
        state: { ...state, asking: true, goesOn: false },
        steps: [{ do: 'ask', signal: event.signal }],
      };
    case 'answered':
      return answered(state, event.verdict);
    case 'suspend':
      if (state.phase === 'restoring') return stay({ ...state, goesOn: false, pressed: false });
      if (state.pressed) return stay({ ...state, pressed: false });
      if (!isAwake(state)) return stay(state);
      return { state: { ...state, phase: 'frozen', asking: false, owed: true }, steps: [{ do: 'freeze' }] };
    case 'resume':
      if (state.asking || state.pressed) return stay(state);
      return goOn(state);
    case 'press':
      if (!isAwake(state) || state.lost !== undefined) return stay(state);
      return {
        state: { ...state, phase: 'frozen', asking: false, owed: true, pressed: true },
        steps: [{ do: 'freeze' }],
      };
    case 'relieve':
      // What is being asked decides.
      if (!state.pressed || state.asking) return stay(state);
      return goOn(state);
    case 'move':
      if (!isAwake(state) && state.phase !== 'frozen' && state.phase !== 'released') return stay(state);
      return save(state, 'migrate');
    case 'release':
      if (state.phase !== 'frozen' || state.asking || state.lost !== undefined) return stay(state);
      return { state: { ...state, phase: 'releasing' }, steps: [{ do: 'write-out' }] };
    case 'written-out':
      if (state.phase !== 'releasing') return stay(state);
      return { state: { ...state, phase: 'released', keepAddress: true }, steps: [{ do: 'power-off' }] };
    case 'write-out-failed':
      if (state.phase !== 'releasing') return stay(state);
      return stay({ ...state, phase: 'frozen' });
    case 'restored':
      return restored(state);
    case 'restore-failed':
      return restoreFailed(state, event.reason, event.final);
    case 'saved':
      if (state.phase !== 'saving') return stay(state);
      return state.letGo ? park(state) : stay({ ...state, phase: 'saved' });
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
  if ((state.phase !== 'frozen' && state.phase !== 'released') || !state.asking) return stay(state);
  switch (verdict) {
    case 'deliver':
      return goOn({ ...state, asking: false });
    case 'suspended':
      return {
        state: { ...state, asking: false, owed: false, pressed: false },
        steps: [{ do: 'let-signals-go', deliver: false }],
      };
    case 'requeued':
      return save(state, 'requeue');
  }
}

/** What was held back is handed on: it may be why the machine goes on. */
function goOn(state: JobState): Transition {
  switch (state.phase) {
    case 'frozen':
      return { state: awake(state), steps: thaw(state) };
    case 'released':
      return { state: { ...state, phase: 'restoring', goesOn: true }, steps: [{ do: 'restore' }] };
    case 'restoring':
      return stay({ ...state, goesOn: true });
    default:
      return stay(state);
  }
}

function restored(state: JobState): Transition {
  if (state.phase !== 'restoring') return stay(state);
  if (!state.goesOn) return stay({ ...state, phase: 'frozen' });
  return { state: awake(state), steps: [...thaw(state), { do: 'wake' }] };
}

/** The checkpoint is as good as before: it serves on another host, or a later start here. */
function restoreFailed(state: JobState, reason: string, final: boolean): Transition {
  if ((state.phase !== 'restoring' && state.phase !== 'released') || state.lost !== undefined)
    return stay(state);
  const released = { ...state, phase: 'released' as const, goesOn: false };
  if (!final) return { state: released, steps: [{ do: 'send-back', reason }] };
  return loseSteps(released, reason);
}

function awake(state: JobState): JobState {
  return settled({
    ...state,
    phase: 'ready',
    asking: false,
    owed: false,
    pressed: false,
    goesOn: false,
    keepAddress: false,
  });
}

function thaw({ owed }: JobState): readonly JobStep[] {
  return [
    { do: 'thaw', owed },
    { do: 'let-signals-go', deliver: true },
  ];
}

/** Frozen first, as a step of its own: libvirt thaws a running guest when its save is cancelled. */
function save(state: JobState, reason: SaveReason): Transition {
  const freeze: JobStep[] = isAwake(state) ? [{ do: 'freeze' }] : [];
  return {
    state: { ...state, phase: 'saving', asking: false, pressed: false },
    steps: [...freeze, { do: 'unpublish' }, { do: 'save', reason }],
  };
}

function epilog(state: JobState, requeued: boolean): Transition {
  switch (state.phase) {
    case 'saving':
      // Grid Engine's epilog is not told that the job migrates: whether the checkpoint is wanted is asked when it is there.
      return stay({ ...state, letGo: true });
    case 'saved':
      return state.letGo ? stay(state) : park({ ...state, letGo: true });
    case 'parked':
      // Of a run that never came so far as to have a machine.
      return stay(state);
    case 'ready':
    case 'running':
    case 'frozen':
    case 'released':
    case 'restoring': {
      if (!requeued || state.lost !== undefined) return end(state);
      const { state: saving, steps } = save(state, 'requeue');
      return { state: { ...saving, letGo: true }, steps };
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

/** A machine that is lost while it starts is the start's own failure; one that is ending, parked or in the store was meant to go; one that is being saved fails its save. */
function lose(state: JobState, reason: string): Transition {
  switch (state.phase) {
    case 'starting':
    case 'released':
    case 'restoring':
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
    case 'releasing':
      return state.lost === undefined ? loseSteps(state, reason) : stay(state);
  }
}

function loseSteps(state: JobState, reason: string): Transition {
  return {
    state: { ...state, lost: reason },
    // The scheduler is told first: once the shims are gone it would count the job as finished.
    steps: [{ do: 'unpublish' }, { do: 'report-lost', reason }, { do: 'end-steps', reason }],
  };
}

/** What a machine that is being written out has to heed at once. */
function interruptsRelease({ type }: JobEvent): boolean {
  switch (type) {
    case 'halted':
    case 'resume':
    case 'relieve':
    case 'move':
    case 'machine-lost':
    case 'epilog':
    case 'orphaned':
      return true;
    default:
      return false;
  }
}

function givenUp(state: JobState): JobState {
  return state.phase === 'releasing' ? { ...state, phase: 'frozen' } : state;
}

/** Its machine stands still, or is in the store, and its steps' clients wait. */
function isSuspended({ phase }: JobState): boolean {
  return phase === 'frozen' || phase === 'releasing' || phase === 'released' || phase === 'restoring';
}

/** No process of the job runs, and none takes a signal. */
export function standsStill(state: JobState): boolean {
  return isSuspended(state) || state.phase === 'saving' || state.phase === 'saved';
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
