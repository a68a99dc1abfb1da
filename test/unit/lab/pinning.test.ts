import { expect, test } from 'vitest';

import { planCpus, planWhileStarting } from '../../lab/pinning.ts';

test('with two cores n1 has one to itself, and n2 and the head share the other', () => {
  expect(planCpus([0, 1], true)).toEqual({ head: '0', n1: '1', n2: '0' });
});

test('with more cores each node has its own and the head has the rest', () => {
  expect(planCpus([0, 1, 2, 5], true)).toEqual({ head: '0,1', n1: '5', n2: '2' });
});

test('unpinned, or with one core, every host has every core', () => {
  expect(planCpus([0, 1], false)).toEqual({ head: '0,1', n1: '0,1', n2: '0,1' });
  expect(planCpus([3], true)).toEqual({ head: '3', n1: '3', n2: '3' });
});

test('the head may use every core while the lab comes up', () => {
  expect(planWhileStarting(planCpus([0, 1], true), [0, 1])).toEqual({ head: '0,1', n1: '1', n2: '0' });
});
