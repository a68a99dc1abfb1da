import { describe, expect, it } from 'vitest';

import { INITIAL_STATE, type JobEvent, type JobState, transition } from '../../../src/jobs/transitions.ts';

function play(events: JobEvent[], from: JobState = INITIAL_STATE) {
  const done: string[] = [];
  let state = from;
  for (const event of events) {
    const next = transition(state, event);
    state = next.state;
    done.push(...next.steps.map((step) => step.do));
  }
  return { state, done };
}

describe('the life of a job', () => {
  it('publishes when the machine is ready and releases once it is destroyed', () => {
    const { state, done } = play([
      { type: 'machine-ready' },
      { type: 'step-opened' },
      { type: 'step-opened' },
      { type: 'step-ended' },
      { type: 'step-ended' },
      { type: 'epilog' },
      { type: 'destroyed' },
    ]);
    expect(done).toEqual(['publish', 'unpublish', 'end-steps', 'destroy', 'release']);
    expect(state.phase).toBe('ended');
  });

  it('is running exactly while a step runs', () => {
    const opened = play([
      { type: 'machine-ready' },
      { type: 'step-opened' },
      { type: 'step-opened' },
      { type: 'step-ended' },
    ]);
    expect(opened.state).toMatchObject({ phase: 'running', steps: 1 });
    expect(play([{ type: 'step-ended' }], opened.state).state.phase).toBe('ready');
  });

  it('destroys a machine that never became ready and never publishes it', () => {
    const { done } = play([
      { type: 'start-failed', reason: 'no memory' },
      { type: 'machine-ready' },
      { type: 'destroyed' },
    ]);
    expect(done).toEqual(['destroy', 'release']);
  });

  it('tells the scheduler of a lost machine once, and before the shims end', () => {
    const { done } = play([
      { type: 'machine-ready' },
      { type: 'step-opened' },
      { type: 'machine-lost', reason: 'QEMU was killed' },
      { type: 'machine-lost', reason: 'QEMU was killed' },
    ]);
    expect(done).toEqual(['publish', 'unpublish', 'report-lost', 'end-steps']);
  });

  it('still cleans up at the epilog of a job whose machine was lost', () => {
    const { done } = play([
      { type: 'machine-ready' },
      { type: 'machine-lost', reason: 'panic' },
      { type: 'epilog' },
      { type: 'destroyed' },
      { type: 'epilog' },
    ]);
    expect(done.slice(-3)).toEqual(['end-steps', 'destroy', 'release']);
    expect(done.filter((step) => step === 'release')).toHaveLength(1);
  });

  it('takes the end of a machine that is being destroyed for what it is', () => {
    const { done } = play([
      { type: 'machine-ready' },
      { type: 'epilog' },
      { type: 'machine-lost', reason: 'gone' },
    ]);
    expect(done).not.toContain('report-lost');
  });

  it('opens no step in a machine that is not ready', () => {
    expect(play([{ type: 'step-opened' }]).state).toEqual(INITIAL_STATE);
  });
});
