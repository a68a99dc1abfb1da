import { describe, expect, it } from 'vitest';

import { mayTakeOver, type TakeOverQuestion } from '../../../src/checkpoint/may-take-over.ts';

const holder = { host: 'n1', machine: 'm1', incarnation: '0', bootId: 'boot-1' };
const claim = { epoch: 3, holder, released: false, parked: undefined, nonce: 'x' };
const parked = { generation: 7, uri: 'qemu+tls://n1/system' };
const ask = (change: Partial<TakeOverQuestion>) =>
  mayTakeOver({
    claim,
    self: { host: 'n2', bootId: 'boot-9' },
    machineIsHere: false,
    node: undefined,
    leaseMs: 60_000,
    marginMs: 15_000,
    ...change,
  });
const still = (stillMs: number) => ({ kind: 'still', stillMs, bootId: 'boot-1' }) as const;

describe('a job may be taken over', () => {
  it.each<[string, Partial<TakeOverQuestion>]>([
    ['that nobody has claimed', { claim: undefined }],
    ['whose claim was released', { claim: { ...claim, released: true } }],
    ['whose holder has parked it', { claim: { ...claim, parked } }],
    [
      'that this very node has parked',
      { claim: { ...claim, parked }, self: { host: 'n1', bootId: 'boot-1' }, machineIsHere: true },
    ],
    ['whose node has no machines', { node: { kind: 'released', bootId: 'boot-1' } }],
    ['whose node has booted since', { node: { kind: 'alive', stillMs: 0, bootId: 'boot-2' } }],
    ['whose node stands still for lease and margin', { node: still(75_000) }],
    ['of a node without a heartbeat', { node: { kind: 'still', stillMs: 75_000, bootId: undefined } }],
    ['of ours from before we booted', { self: { host: 'n1', bootId: 'boot-2' }, machineIsHere: true }],
    ['of ours without its machine', { self: { host: 'n1', bootId: 'boot-1' } }],
  ])('%s', (_, change) => {
    expect(ask(change)).toMatchObject({ allowed: true });
  });
});

describe('a job may not be taken over', () => {
  it.each<[string, Partial<TakeOverQuestion>, number]>([
    ['whose node was not watched', {}, 75_000],
    ['whose node is alive', { node: { kind: 'alive', stillMs: 5_000, bootId: 'boot-1' } }, 70_000],
    ['whose node stands still for less', { node: still(74_999) }, 1],
    ['of ours that runs here', { self: { host: 'n1', bootId: 'boot-1' }, machineIsHere: true }, 75_000],
  ])('%s', (_, change, waitMs) => {
    expect(ask(change)).toMatchObject({ allowed: false, waitMs });
  });

  it('and the reason names node and time', () => {
    expect(ask({ node: still(30_000) }).why).toBe(
      'n1 holds it and has given no sign of life for 30 s of 75 s',
    );
  });
});
