import { describe, expect, it } from 'vitest';

import { growthOf, growthSchema } from '../../../src/config/growth.ts';
import {
  decideCpus,
  decideMemory,
  type Growing,
  limitBytes,
  markBytes,
} from '../../../src/pressure/growth.ts';
import { GrowthSeries } from '../../../src/pressure/growth-series.ts';

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;

function policyOf(settings: object, queue = 'main') {
  return growthOf(growthSchema.parse({ enabled: true, ...settings }), queue);
}

/** A sample a second: MiB held, or with the number of tasks that want to run. */
function seriesOf(policy: { shrink_after: number }, values: readonly (number | [number, number])[]) {
  const series = new GrowthSeries(policy.shrink_after * 1000);
  for (const [i, value] of values.entries()) {
    const [mib, runnableTasks] = typeof value === 'number' ? [value, 1] : value;
    series.add({ atMs: i * 1000, heldBytes: mib * MiB, runnableTasks });
  }
  return { series, nowMs: (values.length - 1) * 1000 };
}

function growing(
  settings: object,
  values: readonly (number | [number, number])[],
  more: Partial<Growing> = {},
): Growing {
  const policy = policyOf(settings);
  return {
    policy,
    ...seriesOf(policy, values),
    asked: { memoryBytes: 1000 * MiB, cpus: 2 },
    reserved: { memoryBytes: 1000 * MiB, cpus: 2 },
    has: { memoryBytes: 1000 * MiB, cpus: 2 },
    most: { memoryBytes: 64 * GiB, cpus: 16 },
    room: { memoryBytes: 8 * GiB, cpus: 8 },
    changedAtMs: Number.NEGATIVE_INFINITY,
    staysBecause: undefined,
    ...more,
  };
}

describe('memory of a job', () => {
  it('stays as it is below the mark, and grows by the step beyond it', () => {
    expect(decideMemory(growing({}, [900, 910, 915]))).toEqual({ do: 'nothing' });
    expect(decideMemory(growing({}, [949, 950, 950]))).toEqual({ do: 'grow', toBytes: 1250 * MiB });
    expect(decideMemory(growing({ mark: '100M', step: '512M' }, [901]))).toEqual({
      do: 'grow',
      toBytes: 1512 * MiB,
    });
  });

  it('grows a job that rises fast by what it will have taken by then', () => {
    const step = decideMemory(growing({ limit: '1000%' }, [0, 300, 600, 930]));
    // 930 MiB, 310 MiB/s for 3 s, and twice the mark.
    expect(step).toEqual({ do: 'grow', toBytes: 2020 * MiB });
  });

  it('never grows it beyond the limit of its site, its machine, or its node', () => {
    expect(decideMemory(growing({ limit: '110%' }, [990]))).toEqual({ do: 'grow', toBytes: 1100 * MiB });
    expect(decideMemory(growing({ limit: '1100M' }, [990]))).toEqual({ do: 'grow', toBytes: 1100 * MiB });
    const most = { memoryBytes: 1200 * MiB, cpus: 2 };
    expect(decideMemory(growing({}, [990], { most }))).toEqual({ do: 'grow', toBytes: 1200 * MiB });
    const room = { memoryBytes: 151 * MiB, cpus: 0 };
    expect(decideMemory(growing({}, [990], { room }))).toEqual({ do: 'grow', toBytes: 1150 * MiB });
  });

  it('has a limit that counts from what the user asked for, and that is never less', () => {
    const of = (limit: string) => limitBytes(growing({ limit }, [1]));
    expect([of('150%'), of('3G'), of('500M')]).toEqual([1500 * MiB, 3 * GiB, 1000 * MiB]);
  });

  it('asks for more elsewhere where there is no room, and says why', () => {
    const room = { memoryBytes: 50 * MiB, cpus: 0 };
    const step = decideMemory(growing({}, [990], { room }));
    expect(step).toMatchObject({ do: 'requeue', askBytes: 1500 * MiB });
    expect(decideMemory(growing({ live: false, limit: '120%' }, [990]))).toMatchObject({
      do: 'requeue',
      askBytes: 1200 * MiB,
      why: expect.stringContaining('growth.live'),
    });
  });

  it('leaves to its wall what cannot be requeued or may have no more, and signals where the site says so', () => {
    const room = { memoryBytes: 0, cpus: 0 };
    expect(decideMemory(growing({}, [990], { room, staysBecause: 'it is interactive' }))).toEqual({
      do: 'leave',
      why: 'this node has no memory left for it, and it is interactive',
    });
    expect(decideMemory(growing({ limit: '100%' }, [990]))).toMatchObject({ do: 'leave' });
    expect(decideMemory(growing({ on_no_room: 'wall' }, [990], { room }))).toMatchObject({ do: 'leave' });
    expect(decideMemory(growing({ on_no_room: 'signal' }, [990], { room }))).toMatchObject({ do: 'signal' });
    // At the limit too: it is its last word before the wall.
    expect(decideMemory(growing({ on_no_room: 'signal', limit: '100%' }, [990]))).toMatchObject({
      do: 'signal',
    });
  });

  it('goes back when it was not needed for as long as the site says, with room for what it held', () => {
    const has = { memoryBytes: 2000 * MiB, cpus: 2 };
    const calm = Array.from({ length: 62 }, () => 800);
    const settings = { shrink_after: 60 };
    const step = decideMemory(growing(settings, calm, { has }));
    expect(step).toEqual({ do: 'shrink', toBytes: 1128 * MiB });
    // Not near its new wall: it would grow again at once.
    expect(decideMemory(growing(settings, calm, { has: { memoryBytes: 1128 * MiB, cpus: 2 } }))).toEqual({
      do: 'nothing',
    });
    expect(decideMemory(growing(settings, calm.slice(10), { has }))).toEqual({ do: 'nothing' });
    expect(decideMemory(growing(settings, calm, { has, changedAtMs: 10_000 }))).toEqual({ do: 'nothing' });
    expect(decideMemory(growing({ shrink_after: 0 }, calm, { has }))).toEqual({ do: 'nothing' });
    const peak = [...calm.slice(0, 30), 1500, ...calm.slice(31)];
    expect(decideMemory(growing(settings, peak, { has }))).toEqual({ do: 'nothing' });
  });

  it('never goes below what is reserved for it', () => {
    const has = { memoryBytes: 2000 * MiB, cpus: 2 };
    const calm = Array.from({ length: 62 }, () => 10);
    expect(decideMemory(growing({ shrink_after: 60 }, calm, { has }))).toEqual({
      do: 'shrink',
      toBytes: 1000 * MiB,
    });
    const reserved = { memoryBytes: 1500 * MiB, cpus: 2 };
    expect(decideMemory(growing({ shrink_after: 60 }, calm, { has, reserved }))).toEqual({
      do: 'shrink',
      toBytes: 1500 * MiB,
    });
  });

  it('does nothing without a sample', () => {
    expect(decideMemory(growing({}, []))).toEqual({ do: 'nothing' });
  });
});

describe('CPUs of a job', () => {
  const wants = (tasks: number, seconds = 6) =>
    Array.from({ length: seconds }, (): [number, number] => [10, tasks]);

  it('become more when its tasks want them for some seconds, as far as site and node allow', () => {
    expect(decideCpus(growing({ cpus: '400%' }, wants(4)))).toBe(4);
    expect(decideCpus(growing({ cpus: 3 }, wants(4)))).toBe(3);
    expect(decideCpus(growing({ cpus: '400%' }, wants(4), { room: { memoryBytes: 0, cpus: 1.7 } }))).toBe(3);
    expect(decideCpus(growing({ cpus: '400%' }, wants(4, 3)))).toBeUndefined();
    expect(decideCpus(growing({ cpus: '400%' }, wants(2)))).toBeUndefined();
    expect(decideCpus(growing({}, wants(4)))).toBeUndefined();
    expect(decideCpus(growing({ cpus: '400%', live: false }, wants(4)))).toBeUndefined();
  });

  it('go back when others want theirs, and when they were not used', () => {
    const has = { memoryBytes: 1000 * MiB, cpus: 6 };
    const busy = { has, room: { memoryBytes: 0, cpus: -2.5 } };
    expect(decideCpus(growing({ cpus: '400%' }, wants(6), busy))).toBe(3);
    expect(decideCpus(growing({ cpus: '400%', shrink_after: 60 }, wants(2.2, 62), { has }))).toBe(3);
    expect(decideCpus(growing({ cpus: '400%', shrink_after: 60 }, wants(2.2, 40), { has }))).toBeUndefined();
  });

  it('are never fewer than were asked for', () => {
    const room = { memoryBytes: 0, cpus: -9 };
    expect(decideCpus(growing({ cpus: '400%' }, wants(6), { room }))).toBeUndefined();
  });
});

describe('the settings', () => {
  it('hold for all queues but where one has its own', () => {
    const site = { limit: '300%', queues: { still: { live: false }, off: { enabled: false } } };
    expect(policyOf(site, 'main')).toMatchObject({ enabled: true, live: true });
    expect(policyOf(site, 'still')).toMatchObject({ enabled: true, live: false, limit: { share: 3 } });
    expect(policyOf(site, 'off').enabled).toBe(false);
  });

  it('are off by default, and refused when they mean nothing', () => {
    expect(growthSchema.parse(undefined).enabled).toBe(false);
    for (const wrong of [
      { mark: 'much' },
      { signal: 'SIGKILL' },
      { cpus: '2G' },
      { queues: { a: { b: 1 } } },
    ])
      expect(growthSchema.safeParse(wrong).success, JSON.stringify(wrong)).toBe(false);
  });

  it('leave a job half of its wall at least', () => {
    expect(markBytes(policyOf({ mark: '2G' }), 1000 * MiB)).toBe(500 * MiB);
  });
});
