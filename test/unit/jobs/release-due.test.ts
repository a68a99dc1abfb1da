import { expect, it } from 'vitest';

import { releaseDue } from '../../../src/jobs/release-due.ts';

const [young, old] = [{ frozenMs: 1_000 }, { frozenMs: 9_000 }];

it('releases what has stood still for long enough', () => {
  expect(releaseDue([young, old], { afterMs: 9_000, belowBytes: 0 }, 0)).toEqual([old]);
});

it('never releases for age without a bound', () => {
  expect(releaseDue([young, old], { afterMs: 0, belowBytes: 0 }, 0)).toEqual([]);
});

it('releases the oldest one early when the host runs short, and none when it does not', () => {
  const settings = { afterMs: 60_000, belowBytes: 1_000 };
  expect(releaseDue([young, old], settings, 999)).toEqual([old]);
  expect(releaseDue([young, old], settings, 1_000)).toEqual([]);
});
