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
      { type: 'epilog', requeued: false },
      { type: 'destroyed' },
    ]);
    expect(done).toEqual(['publish', 'unpublish', 'end-steps', 'destroy', 'discard', 'release']);
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
      { type: 'epilog', requeued: false },
      { type: 'destroyed' },
      { type: 'epilog', requeued: false },
    ]);
    expect(done.slice(-4)).toEqual(['end-steps', 'destroy', 'discard', 'release']);
    expect(done.filter((step) => step === 'release')).toHaveLength(1);
  });

  it('takes the end of a machine that is being destroyed for what it is', () => {
    const { done } = play([
      { type: 'machine-ready' },
      { type: 'epilog', requeued: false },
      { type: 'machine-lost', reason: 'gone' },
    ]);
    expect(done).not.toContain('report-lost');
  });

  it('opens no step in a machine that is not ready', () => {
    expect(play([{ type: 'step-opened' }]).state).toEqual(INITIAL_STATE);
  });

  const running: JobEvent[] = [{ type: 'machine-ready' }, { type: 'step-opened' }];
  const parking: JobEvent[] = [
    ...running,
    { type: 'move' },
    { type: 'epilog', requeued: false },
    { type: 'saved' },
  ];

  it('freezes first and asks once, however many shims got the signal', () => {
    const { state, done } = play([
      ...running,
      { type: 'halted', signal: 15 },
      { type: 'halted', signal: 15 },
    ]);
    expect(done).toEqual(['publish', 'freeze', 'ask']);
    expect(state).toMatchObject({ phase: 'frozen', asking: true });
  });

  it('thaws and delivers what was a cancel', () => {
    const { state, done } = play([
      ...running,
      { type: 'halted', signal: 15 },
      { type: 'answered', verdict: 'deliver' },
    ]);
    expect(done.slice(-2)).toEqual(['thaw', 'let-signals-go']);
    expect(state.phase).toBe('running');
  });

  it('stays frozen while suspended, and asks again at the next signal', () => {
    const suspended: JobEvent[] = [
      ...running,
      { type: 'halted', signal: 15 },
      { type: 'answered', verdict: 'suspended' },
    ];
    expect(play(suspended).state).toMatchObject({ phase: 'frozen', asking: false });
    const { done } = play([
      ...suspended,
      { type: 'halted', signal: 15 },
      { type: 'answered', verdict: 'deliver' },
    ]);
    expect(done.slice(-3)).toEqual(['ask', 'thaw', 'let-signals-go']);
  });

  it.each<[string, JobEvent[]]>([
    ['before the epilog', [{ type: 'saved' }, { type: 'epilog', requeued: true }]],
    ['after the epilog', [{ type: 'epilog', requeued: true }, { type: 'saved' }]],
    [
      'before the epilog of a scheduler that does not say so',
      [{ type: 'saved' }, { type: 'epilog', requeued: false }],
    ],
  ])('destroys a requeued machine only when it is saved: %s', (_, end) => {
    const { state, done } = play([
      ...running,
      { type: 'halted', signal: 15 },
      { type: 'answered', verdict: 'requeued' },
      ...end,
      { type: 'park-over' },
      { type: 'destroyed' },
    ]);
    expect(done).toEqual([
      ...['publish', 'freeze', 'ask', 'unpublish', 'save', 'park'],
      ...['destroy', 'discard', 'release'],
    ]);
    expect(state.phase).toBe('ended');
  });

  it('saves at the epilog what was requeued without a signal that we saw', () => {
    const { done } = play([...running, { type: 'epilog', requeued: true }, { type: 'saved' }]);
    expect(done).toEqual(['publish', 'freeze', 'unpublish', 'save', 'park']);
  });

  it('moves a suspended machine without thawing it', () => {
    const { done } = play([...running, { type: 'suspend' }, { type: 'move' }]);
    expect(done).toEqual(['publish', 'freeze', 'unpublish', 'save']);
  });

  it('finishes the save of a job whose epilog comes meanwhile, and then asks whether anybody wants it', () => {
    const { done } = play([...running, { type: 'move' }, { type: 'epilog', requeued: false }]);
    expect(done.at(-1)).toBe('save');
    expect(play(parking).done.at(-1)).toBe('park');
    expect(play([...parking, { type: 'park-over' }]).done.at(-1)).toBe('discard');
  });

  it('hands a parked machine on to the next start of its job here, and does not end it', () => {
    const { state, done } = play([...parking, { type: 'taken-over' }, { type: 'park-over' }]);
    expect(done.slice(-2)).toEqual(['park', 'hand-on']);
    expect(state.phase).toBe('ended');
  });

  it('cleans up after a parked machine that has left, and reports no loss', () => {
    const { done } = play([
      ...parking,
      { type: 'machine-lost', reason: 'migrated' },
      { type: 'destroyed' },
      { type: 'taken-over' },
    ]);
    expect(done.slice(-4)).toEqual(['park', 'destroy', 'discard', 'release']);
  });

  it.each<JobEvent>([
    { type: 'resume' },
    { type: 'suspend' },
    { type: 'halted', signal: 18 },
    { type: 'answered', verdict: 'deliver' },
    { type: 'move' },
    { type: 'step-opened' },
    { type: 'epilog', requeued: true },
    { type: 'orphaned' },
    { type: 'machine-ready' },
  ])('never lets a parked machine run, or end early: $type', (event) => {
    const parked = play(parking).state;
    expect(transition(parked, event)).toEqual({ state: parked, steps: [] });
  });

  it('parks once: an epilog that is told again changes nothing', () => {
    const over = play([...parking, { type: 'park-over' }]).state;
    expect(transition(over, { type: 'epilog', requeued: false }).steps).toEqual([]);
  });

  it('gives the job back to the queue without state when the save fails', () => {
    const { state, done } = play([...running, { type: 'move' }, { type: 'save-failed', reason: 'full' }]);
    expect(done.at(-1)).toBe('destroy');
    expect(state.phase).toBe('ending');
  });
});
