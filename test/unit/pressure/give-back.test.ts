import { describe, expect, it } from 'vitest';

import { giveBack, type Situation, type Verdict } from '../../../src/pressure/give-back.ts';
import { inOrder, type Victim } from '../../../src/pressure/victims.ts';

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;

const b: Victim = {
  ...{ job: 'slurm-2', standing: 'awake', standingMs: 60_000, weight: 'low', cpus: 1 },
  ...{
    residentBytes: 500 * MiB,
    balloonBytes: 0,
    reclaimableBytes: 0,
    untouchedBytes: 0,
    isReclaiming: false,
  },
  ...{ growthBytesPerSecond: 0, priority: 10, unsavable: undefined },
};
const memory = {
  ...{ leftBytes: 4 * GiB, capacityBytes: 8 * GiB, idleBytes: 5 * GiB },
  ...{ growthBytesPerSecond: 0 },
};
const quiet: Situation = {
  ...{ nowMs: 100_000, memory, cpu: { cpus: 8, wantedCpus: 2 }, borrowers: [b], parked: [] },
  bandwidth: { save: 100 * MiB },
  ...{ storeTrouble: undefined, evictAfterMs: 30_000, calmSinceMs: undefined },
};
const grows = (mibPerSecond: number, change: Partial<typeof memory> = {}) => ({
  memory: { ...memory, growthBytesPerSecond: mibPerSecond * MiB, ...change },
});
const spins = { cpu: { cpus: 8, wantedCpus: 8 } };
const with_ = (...borrowers: Partial<Victim>[]) => ({
  borrowers: borrowers.map((one) => ({ ...b, ...one })),
});
const pressed = { standing: 'pressed', standingMs: 5_000 } as const;

const look = (change: Partial<Situation> = {}): Verdict => giveBack({ ...quiet, ...change });
const said = ({ acts }: Verdict) => acts.map(({ job, measure }) => `${measure.do} ${job}`);

describe('the give-back ladder', () => {
  it('leaves borrowers alone while owners leave enough', () => {
    expect(said(look())).toEqual([]);
    expect(look().calmSinceMs).toBe(100_000);
    // They could not even want more than there is.
    expect(said(look(grows(5_000, { idleBytes: 3 * GiB })))).toEqual([]);
  });

  it('takes the lowest rung that is done in time', () => {
    const cache = with_({ reclaimableBytes: 200 * MiB });
    // 3.6 GiB left for it; a give-back takes 6 s.
    const rungs = [50, 130, 250, 400].map((rate) => said(look({ ...grows(rate), ...cache })));
    expect(rungs).toEqual([[], ['reclaim slurm-2'], ['freeze slurm-2'], ['freeze slurm-2', 'evict slurm-2']]);
  });

  it('needs less time where saves are faster, and says what it counted with', () => {
    expect(said(look({ ...grows(400), bandwidth: { save: 5 * GiB } }))).not.toContain('evict slurm-2');
    const [, act] = look(grows(400)).acts;
    expect(act?.numbers).toMatchObject({
      owners_growth_bytes_per_second: 400 * MiB,
      predicted_give_back_ms: 6_000,
      until_short_ms: expect.closeTo(9_200, -3),
    });
    expect(act?.why).toMatch(
      /owners grow by 400 MiB\/s, with 4 GiB left for 9\.\d s; giving back takes 6\.0 s/,
    );
  });

  it('asks balloons for what guests do not use, and none for next to nothing', () => {
    const verdict = look({
      ...grows(130),
      ...with_({ balloonBytes: 50 * MiB, reclaimableBytes: 100 * MiB, untouchedBytes: 20 * MiB }),
    });
    // It gets first what nobody gains by.
    expect(verdict.acts[0]?.measure).toEqual({ do: 'reclaim', balloonBytes: 170 * MiB });
    expect(said(look({ ...grows(130), ...with_({ reclaimableBytes: MiB }) }))).toEqual([]);
  });

  it('takes no more victims than it needs, the least first, and counts what is coming', () => {
    const three = with_(
      { job: 'high', priority: 30 },
      { job: 'large', priority: 10, residentBytes: 900 * MiB },
      { job: 'small', priority: 10, residentBytes: 300 * MiB },
    );
    const needs = grows(10, { leftBytes: 480 * MiB });
    expect(said(look({ ...needs, ...three }))).toEqual(['freeze small', 'evict small']);
    const leaving = with_(
      { job: 'high', priority: 30 },
      { job: 'small', residentBytes: 300 * MiB, standing: 'leaving' },
    );
    expect(said(look({ ...needs, ...leaving }))).toEqual([]);
    const much = grows(200, { leftBytes: 500 * MiB });
    expect(said(look({ ...much, ...three })).filter((text) => text.startsWith('evict'))).toEqual([
      'evict small',
      'evict large',
      'evict high',
    ]);
  });

  it('ends parked machines before it touches one that lives', () => {
    const parked = [{ job: 'slurm-9', residentBytes: 600 * MiB }];
    const verdict = look({ ...grows(10, { leftBytes: 480 * MiB }), parked });
    expect(said(verdict)).toEqual(['end-parked slurm-9']);
  });

  it('takes what costs nobody anything from a node that is full and at rest', () => {
    const full = { memory: { ...memory, leftBytes: 100 * MiB } };
    expect(said(look({ ...full, ...with_({ reclaimableBytes: 50 * MiB }) }))).toEqual(['reclaim slurm-2']);
    expect(said(look(full))).toEqual([]);
  });
});

describe('owners that want their CPUs', () => {
  it('have them at once when they want all', () => {
    expect(said(look(spins))).toEqual(['freeze slurm-2']);
    expect(look(spins).acts[0]?.why).toContain("owners want 8.0 of the node's 8 CPUs");
  });

  it('are not in the way of what a borrower takes of the rest', () => {
    expect(said(look({ cpu: { cpus: 8, wantedCpus: 7.2 } }))).toEqual(['least-weight slurm-2']);
    expect(said(look({ cpu: { cpus: 8, wantedCpus: 6 } }))).toEqual([]);
  });

  it('are not disturbed by a borrower that sleeps', () => {
    expect(said(look({ ...spins, ...with_({ cpus: 0.01 }) }))).toEqual(['least-weight slurm-2']);
    expect(said(look({ ...spins, ...with_({ cpus: 0.01, weight: 'least' }) }))).toEqual([]);
  });
});

describe('when a borrower cannot be saved', () => {
  const short = grows(400);
  it.each([
    ['the store', { storeTrouble: 'checkpoint store: 1 MiB free' }, {}],
    ['the job', {}, { unsavable: 'its user asked that it never runs twice' }],
  ])('it is frozen only, and that is said: %s', (_, change, victim) => {
    const verdict = look({ ...short, ...change, ...with_(victim) });
    expect(said(verdict)).toEqual(['freeze slurm-2']);
    expect(verdict.acts[0]?.why).toMatch(/frozen only, since it cannot be saved: (checkpoint|its user)/);
  });

  it('its balloon is filled before it stands still', () => {
    const change = { ...short, storeTrouble: 'full' };
    const balloon = with_({ reclaimableBytes: 100 * MiB });
    expect(said(look({ ...change, ...balloon }))).toEqual(['reclaim slurm-2']);
    expect(said(look({ ...change, ...with_({ isReclaiming: true }) }))).toEqual([]);
    expect(said(look({ ...change, ...with_({ balloonBytes: 100 * MiB }) }))).toEqual(['freeze slurm-2']);
    const stuck = look({ ...change, ...with_(pressed) });
    expect(stuck).toMatchObject({ acts: [], why: expect.stringContaining('nothing can be saved: full') });
  });
});

describe('what stands still', () => {
  it('goes elsewhere when its owner goes on', () => {
    expect(said(look({ ...spins, ...with_({ ...pressed, weight: 'least' }) }))).toEqual([]);
    const long = { ...pressed, standingMs: 30_000, weight: 'least' } as const;
    expect(said(look({ ...spins, ...with_(long) }))).toEqual(['evict slurm-2']);
    expect(said(look({ ...spins, ...with_({ ...long, unsavable: 'it is interactive' }) }))).toEqual([]);
  });

  const calm = (ms: number, ...borrowers: Partial<Victim>[]) =>
    look({ calmSinceMs: quiet.nowMs - ms, ...with_(...borrowers) });

  it('goes on after a time with room, one after the other, the most important first', () => {
    const two = [
      { ...pressed, job: 'low', priority: 1 },
      { ...pressed, job: 'high', priority: 2 },
    ];
    expect(said(calm(9_000, ...two))).toEqual([]);
    const verdict = calm(10_000, ...two);
    expect(said(verdict)).toEqual(['thaw high']);
    expect(verdict.calmSinceMs).toBe(quiet.nowMs);
  });

  it('gets its memory and its weight back after that', () => {
    expect(said(calm(10_000, { balloonBytes: 100 * MiB, weight: 'least' }))).toEqual(['deflate slurm-2']);
    expect(said(calm(10_000, { weight: 'least' }))).toEqual(['low-weight slurm-2']);
    expect(said(calm(10_000, {}))).toEqual([]);
  });

  it('stays where it is between the marks', () => {
    const some = { cpu: { cpus: 8, wantedCpus: 7.3 } };
    const verdict = look({ ...some, ...with_({ ...pressed, weight: 'least' }), calmSinceMs: 0 });
    expect(said(verdict)).toEqual([]);
    expect(verdict.calmSinceMs).toBeUndefined();
    // 28 s left, where an eviction would need 10.
    const slow = look({ ...grows(130), ...with_(pressed), calmSinceMs: 0 });
    expect(said(slow)).toEqual([]);
    expect(slow.calmSinceMs).toBeUndefined();
  });
});

describe('for want of data', () => {
  it('does nothing, one way or the other', () => {
    const change = { ...with_(pressed, { job: 'slurm-3' }), calmSinceMs: 0 };
    expect(look({ ...change, memory: undefined })).toMatchObject({ acts: [], calmSinceMs: undefined });
    expect(look({ ...change, cpu: undefined }).why).toContain('for want of data');
  });

  it('leaves alone what somebody else has frozen', () => {
    const busy = { ...spins, ...grows(900), ...with_({ standing: 'other' }) };
    expect(said(look(busy))).toEqual([]);
  });
});

describe('victims', () => {
  it('are the least important, those that stand still, the small', () => {
    const order = inOrder([
      { ...b, job: 'e', priority: 5 },
      { ...b, job: 'd', priority: 1, residentBytes: 2 },
      { ...b, job: 'c', priority: 1, residentBytes: 1 },
      { ...b, job: 'b', priority: 1, residentBytes: 3, standing: 'pressed' },
      { ...b, job: 'a', priority: undefined },
    ]);
    expect(order.map(({ job }) => job).join('')).toBe('abcde');
  });
});
