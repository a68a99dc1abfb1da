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

  const frozen: JobEvent[] = [...running, { type: 'suspend' }];
  const released: JobEvent[] = [...frozen, { type: 'release' }, { type: 'written-out' }];

  it('gives the memory of a suspended machine back and keeps its clients', () => {
    const { state, done } = play(released);
    expect(done).toEqual(['publish', 'freeze', 'write-out', 'power-off']);
    expect(state).toMatchObject({ phase: 'released', steps: 1, keepAddress: true });
  });

  it('releases nothing that runs, or of which it is not known what is meant', () => {
    expect(play([...running, { type: 'release' }]).state.phase).toBe('running');
    expect(play([...running, { type: 'halted', signal: 20 }, { type: 'release' }]).state.phase).toBe(
      'frozen',
    );
  });

  it.each<[string, JobEvent, string[]]>([
    ['a resume', { type: 'resume' }, ['thaw', 'let-signals-go']],
    ['a signal', { type: 'halted', signal: 15 }, ['ask']],
    ['a move', { type: 'move' }, ['unpublish', 'save']],
    ['the end', { type: 'epilog', requeued: false }, ['unpublish', 'end-steps', 'destroy', 'discard']],
  ])('gives the write up for %s, and what comes of it changes nothing', (_, event, steps) => {
    const { state, done } = play([...frozen, { type: 'release' }, event]);
    expect(done.slice(3)).toEqual(steps);
    expect(transition(state, { type: 'written-out' })).toEqual({ state, steps: [] });
    expect(transition(state, { type: 'write-out-failed' })).toEqual({ state, steps: [] });
  });

  it('restores a released machine when it is resumed, and its end is no loss meanwhile', () => {
    const { state, done } = play([
      ...released,
      { type: 'machine-lost', reason: 'destroyed' },
      { type: 'resume' },
      { type: 'restored' },
    ]);
    expect(done.slice(4)).toEqual(['restore', 'thaw', 'let-signals-go', 'wake']);
    expect(state).toMatchObject({ phase: 'running', keepAddress: false, lost: undefined });
  });

  it('restores a released machine for the signal that cancels it', () => {
    const { done } = play([
      ...released,
      { type: 'halted', signal: 15 },
      { type: 'answered', verdict: 'deliver' },
      { type: 'restored' },
    ]);
    expect(done.slice(4)).toEqual(['ask', 'restore', 'thaw', 'let-signals-go', 'wake']);
  });

  it('does not restore what is requeued, nor what stays suspended', () => {
    const asked: JobEvent[] = [...released, { type: 'halted', signal: 15 }];
    expect(play([...asked, { type: 'answered', verdict: 'requeued' }]).done.slice(4)).toEqual([
      'ask',
      'unpublish',
      'save',
    ]);
    expect(play([...asked, { type: 'answered', verdict: 'suspended' }]).state.phase).toBe('released');
  });

  it('stays frozen when it was suspended again while it was restored', () => {
    const { state, done } = play([
      ...released,
      { type: 'resume' },
      { type: 'suspend' },
      { type: 'restored' },
    ]);
    expect(state.phase).toBe('frozen');
    expect(done).not.toContain('thaw');
  });

  it('sends a job back whose machine cannot be restored here, and gives it up only when that fails', () => {
    const failed: JobEvent = { type: 'restore-failed', reason: 'no memory', final: false };
    const { state, done } = play([...released, { type: 'resume' }, failed]);
    expect(done.at(-1)).toBe('send-back');
    expect(state.phase).toBe('released');
    expect(play([{ ...failed, final: true }], state).done).toEqual(['unpublish', 'report-lost', 'end-steps']);
  });

  it('keeps the address of a released machine that ends, for a checkpoint that may be wanted', () => {
    expect(play([...released, { type: 'epilog', requeued: false }]).state.keepAddress).toBe(true);
  });

  it('finds a released machine again', () => {
    const { state, done } = play([{ type: 'found-released' }, { type: 'step-opened' }, { type: 'resume' }]);
    expect(done).toEqual(['publish', 'restore']);
    expect(state).toMatchObject({ phase: 'restoring', steps: 1 });
  });

  describe('that stands still for owners', () => {
    const pressed: JobEvent[] = [...running, { type: 'press' }];

    it('goes on when they do not want it any more, and its time limit is to know', () => {
      expect(play(pressed).state).toMatchObject({ phase: 'frozen', pressed: true, owed: true });
      const { state, done } = play([...pressed, { type: 'press' }, { type: 'relieve' }]);
      expect(done).toEqual(['publish', 'freeze', 'thaw', 'let-signals-go']);
      expect(state).toMatchObject({ phase: 'running', pressed: false, owed: false });
    });

    it('is suspended by its scheduler, and goes on only when that says so', () => {
      const suspended = play([...pressed, { type: 'suspend' }, { type: 'relieve' }]);
      expect(suspended.state).toMatchObject({ phase: 'frozen', pressed: false });
      expect(suspended.done).toEqual(['publish', 'freeze']);
      expect(play([{ type: 'resume' }], suspended.state).state.phase).toBe('running');
      const bySignal = play([
        ...pressed,
        { type: 'halted', signal: 20 },
        { type: 'answered', verdict: 'suspended' },
        { type: 'relieve' },
      ]);
      expect(bySignal.state).toMatchObject({ phase: 'frozen', pressed: false });
    });

    it('is not let go by a resume that means a suspension which is over', () => {
      expect(play([...pressed, { type: 'resume' }]).state).toMatchObject({ phase: 'frozen', pressed: true });
    });

    it('is thawed for its clean-up when it is cancelled', () => {
      const { state, done } = play([
        ...pressed,
        { type: 'halted', signal: 15 },
        { type: 'relieve' },
        { type: 'answered', verdict: 'deliver' },
      ]);
      expect(done.slice(-3)).toEqual(['ask', 'thaw', 'let-signals-go']);
      expect(state).toMatchObject({ phase: 'running', pressed: false });
    });

    it.each<[string, JobEvent[]]>([
      [
        'by a signal',
        [
          { type: 'halted', signal: 15 },
          { type: 'answered', verdict: 'requeued' },
        ],
      ],
      ['by its method', [{ type: 'move' }]],
      ['at its epilog', [{ type: 'epilog', requeued: true }]],
    ])('is saved when it is requeued %s, and stays still', (_, events) => {
      const { state, done } = play([...pressed, ...events, { type: 'relieve' }]);
      expect(state).toMatchObject({ phase: 'saving', pressed: false });
      expect(done).not.toContain('thaw');
      expect(done.slice(-2)).toEqual(['unpublish', 'save']);
    });

    it('ends when its job has ended, and is told of when its machine is lost', () => {
      expect(play([...pressed, { type: 'epilog', requeued: false }]).state.phase).toBe('ending');
      const lost: JobEvent = { type: 'machine-lost', reason: 'QEMU was killed' };
      expect(play([...pressed, lost]).done).toContain('report-lost');
      expect(play([...running, lost, { type: 'press' }]).done).not.toContain('freeze');
    });

    it('may give its memory back meanwhile, and is made again when it may go on', () => {
      const { state, done } = play([
        ...pressed,
        { type: 'release' },
        { type: 'written-out' },
        { type: 'relieve' },
        { type: 'restored' },
      ]);
      expect(done.slice(-6)).toEqual(['write-out', 'power-off', 'restore', 'thaw', 'let-signals-go', 'wake']);
      expect(state).toMatchObject({ phase: 'running', pressed: false });
    });

    it('is left alone while it does not run anyway', () => {
      const suspended = play([...running, { type: 'suspend' }, { type: 'press' }, { type: 'relieve' }]);
      expect(suspended.state).toMatchObject({ phase: 'frozen', pressed: false });
    });
  });
});
