import { describe, expect, it } from 'vitest';

import {
  type BridgeQuestion,
  decideBridge,
  minutesBeyondCap,
  minutesOwed,
} from '../../../src/jobs/time-limit.ts';

const HOUR_MS = 3_600_000;
const question: BridgeQuestion = {
  ...{ limitMs: HOUR_MS, leftMs: 30_000, ranMs: HOUR_MS - 30_000, capMs: 3 * HOUR_MS },
  ...{ beforeMs: 60_000, canShorten: true },
};

describe('a job whose time limit comes', () => {
  it('is saved when what is left is no more than the site wants for it', () => {
    expect(decideBridge(question)).toEqual({ do: 'bridge' });
    expect(decideBridge({ ...question, leftMs: 90_000 })).toEqual({ do: 'wait', ms: 30_000 });
  });

  it('is looked at again within a minute, since limits are changed', () => {
    expect(decideBridge({ ...question, leftMs: HOUR_MS })).toEqual({ do: 'wait', ms: 60_000 });
  });

  it('runs for half of its limit at least', () => {
    const short = { ...question, limitMs: 60_000, beforeMs: 300_000 };
    expect(decideBridge({ ...short, leftMs: 40_000 })).toEqual({ do: 'wait', ms: 10_000 });
    expect(decideBridge({ ...short, leftMs: 30_000 })).toEqual({ do: 'bridge' });
  });

  it('ends by its limit once it has run for its cap', () => {
    expect(decideBridge({ ...question, ranMs: 3 * HOUR_MS - 60_000 })).toEqual({ do: 'bridge' });
    expect(decideBridge({ ...question, ranMs: 3 * HOUR_MS - 59_000 })).toEqual({ do: 'let-end' });
  });

  it('goes on only for a whole further run where that cannot be shortened', () => {
    const fixed = { ...question, canShorten: false };
    expect(decideBridge({ ...fixed, ranMs: 2 * HOUR_MS })).toEqual({ do: 'bridge' });
    expect(decideBridge({ ...fixed, ranMs: 2 * HOUR_MS + 1 })).toEqual({ do: 'let-end' });
  });
});

it('shortens the last run to what is left of the cap, in whole minutes', () => {
  expect(minutesBeyondCap(HOUR_MS, 2 * HOUR_MS, 2.5 * HOUR_MS)).toBe(30);
  expect(minutesBeyondCap(HOUR_MS, 0, 2 * HOUR_MS)).toBe(0);
});

it('gives time back in whole minutes and takes off next time what was too much', () => {
  expect(minutesOwed(20_000)).toEqual({ minutes: 1, owedMs: -40_000 });
  expect(minutesOwed(-40_000 + 30_000)).toEqual({ minutes: 0, owedMs: -10_000 });
});
