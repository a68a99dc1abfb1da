import { expect, it } from 'vitest';

import { countAt, countListed, expandHostlist } from '../../../src/scheduler/slurm/hostlist.ts';

it('expands hostlists in order', () => {
  expect(expandHostlist('n1')).toEqual(['n1']);
  expect(expandHostlist('n[1-3,7],gpu07')).toEqual(['n1', 'n2', 'n3', 'n7', 'gpu07']);
  expect(expandHostlist('r[08-11]-ib,x')).toEqual(['r08-ib', 'r09-ib', 'r10-ib', 'r11-ib', 'x']);
});

it('says no to what is no hostlist, or too long a one', () => {
  for (const text of ['', '(null),n[', 'n[a-b]', 'n[1-99999999]', 'n[1]]'])
    expect(expandHostlist(text), text).toBeUndefined();
});

it('finds a place in a compressed list of counts', () => {
  expect([0, 1, 2, 3].map((place) => countAt('4(x2),1', place))).toEqual([4, 4, 1, undefined]);
  expect(countAt('4x', 0)).toBeUndefined();
});

it('counts the numbers of a list', () => {
  expect(['0', '0-3', '0-3,6,8-9', '', 'x', '3-1'].map(countListed)).toEqual([1, 4, 7, 0, 0, 0]);
});
