import { describe, expect, it } from 'vitest';

import { Claims } from '../../../src/checkpoint/claims.ts';
import { CheckpointRefused, ClaimLost, StoreUnavailable } from '../../../src/checkpoint/errors.ts';
import { HOLDER_A, HOLDER_B } from '../../fault/store/scenarios.ts';
import { KEY, newWorld, STORE } from '../../fault/store/world.ts';

const CLAIMS = `${STORE}/jobs/slurm-4711/claims`;

async function world() {
  const { io, store } = await newWorld();
  return { io, store, claims: new Claims(io, STORE) };
}

describe('a claim', () => {
  it('is nobody’s at first, and then its maker’s', async () => {
    const { claims } = await world();
    expect(await claims.current(KEY)).toBeUndefined();
    const claim = await claims.acquire(KEY, HOLDER_A, 0);
    expect(claim.epoch).toBe(1);
    expect(await claims.isMine(claim)).toBe(true);
    expect(await claims.current(KEY)).toMatchObject({ epoch: 1, holder: HOLDER_A, released: false });
  });

  it('is lost to the next epoch, and cannot be released then', async () => {
    const { io, claims } = await world();
    const first = await claims.acquire(KEY, HOLDER_A, 0);
    const second = await claims.acquire(KEY, HOLDER_B, 1);
    expect(await claims.isMine(first)).toBe(false);
    await claims.release(first);
    expect(await claims.current(KEY)).toMatchObject({ epoch: 2, holder: HOLDER_B, released: false });
    expect(await claims.isMine(second)).toBe(true);
    expect(await io.readdir(CLAIMS)).toEqual(['2']);
  });

  it('is the quicker one’s', async () => {
    const { claims } = await world();
    await claims.acquire(KEY, HOLDER_A, 0);
    await expect(claims.acquire(KEY, HOLDER_B, 0)).rejects.toThrow(ClaimLost);
    await expect(claims.acquire(KEY, HOLDER_B, 0)).rejects.toThrow(/n1 holds epoch 1 \(machine caddis-1\)/);
    await expect(claims.acquire(KEY, HOLDER_B, 5)).rejects.toThrow(ClaimLost);
  });

  it('is given again to a holder that did not learn of it, and is a new one for its next incarnation', async () => {
    const { claims } = await world();
    const first = await claims.acquire(KEY, HOLDER_A, 0);
    expect(await claims.acquire(KEY, HOLDER_A, 0)).toEqual(first);
    const next = await claims.acquire(KEY, { ...HOLDER_A, incarnation: '4711.1' }, 1);
    expect(next.epoch).toBe(2);
    expect(await claims.isMine(first)).toBe(false);
  });

  it('of a parked machine is its holder’s until the next takes it, who knows where the machine is', async () => {
    const { io, claims } = await world();
    const first = await claims.acquire(KEY, HOLDER_A, 0);
    const parked = { generation: 3, uri: 'qemu+tls://n1/system' };
    await claims.park(first, parked);
    expect(await claims.isMine(first)).toBe(true);
    expect(await claims.current(KEY)).toMatchObject({ epoch: 1, released: false, parked });
    const second = await claims.acquire(KEY, HOLDER_B, 1);
    expect(await claims.current(KEY)).toMatchObject({ epoch: 2, parked: undefined });
    await expect(claims.park(first, parked)).rejects.toThrow(ClaimLost);
    expect(await claims.whetherGoesOn(KEY, 2)).toBeUndefined();
    await claims.goesOn(second, { how: 'restore' });
    expect(await claims.whetherGoesOn(KEY, 2)).toEqual({ how: 'restore' });
    expect((await io.readdir(CLAIMS)).sort()).toEqual(['2', '2.goes-on']);
  });

  it('says nothing by a mark that is torn', async () => {
    const { io, claims } = await world();
    await claims.acquire(KEY, HOLDER_A, 0);
    await io.create(`${CLAIMS}/1.parked`, Buffer.from('{"generation":'));
    expect(await claims.current(KEY)).toMatchObject({ epoch: 1, parked: undefined });
  });

  it('that was released is not its holder’s any more, and its epoch is not used again', async () => {
    const { claims } = await world();
    const claim = await claims.acquire(KEY, HOLDER_A, 0);
    await claims.release(claim);
    await claims.release(claim);
    expect(await claims.isMine(claim)).toBe(false);
    expect(await claims.current(KEY)).toMatchObject({ epoch: 1, released: true });
    expect((await claims.acquire(KEY, HOLDER_A, 1)).epoch).toBe(2);
  });

  it('goes with the job', async () => {
    const { store, claims } = await world();
    const claim = await claims.acquire(KEY, HOLDER_A, 0);
    await store.removeJob(KEY);
    expect(await claims.isMine(claim)).toBe(false);
    expect(await claims.current(KEY)).toBeUndefined();
    await claims.release(claim);
  });

  it('of one that made a low epoch again because it was slow does not count', async () => {
    const { io, claims } = await world();
    await claims.acquire(KEY, HOLDER_A, 0);
    let rest: (() => void) | undefined;
    const slow = new Promise<void>((resolve) => {
      rest = resolve;
    });
    io.weather = { before: ({ what, path }) => (what === 'link' && path.endsWith('/2') ? slow : undefined) };
    const late = claims.acquire(KEY, { ...HOLDER_B, host: 'late' }, 1);
    for (let i = 0; i < 100; i++) await Promise.resolve();
    io.weather = {};
    await claims.acquire(KEY, HOLDER_B, 1);
    await claims.acquire(KEY, HOLDER_A, 2);
    rest?.();
    await expect(late).rejects.toThrow(ClaimLost);
    expect(await claims.current(KEY)).toMatchObject({ epoch: 3, holder: HOLDER_A });
  });

  it('is not lost because the store is not mounted', async () => {
    const { io, claims } = await world();
    const claim = await claims.acquire(KEY, HOLDER_A, 0);
    await io.rename(STORE, '/elsewhere');
    for (const asked of [
      () => claims.isMine(claim),
      () => claims.current(KEY),
      () => claims.acquire(KEY, HOLDER_B, 1),
      () => claims.release(claim),
    ])
      await expect(asked()).rejects.toThrow(StoreUnavailable);
  });

  it('that is damaged is named, not overtaken', async () => {
    const { io, claims } = await world();
    await claims.acquire(KEY, HOLDER_A, 0);
    io.damage(`${CLAIMS}/1`, Buffer.from('{"host":'));
    await expect(claims.current(KEY)).rejects.toThrow(CheckpointRefused);
    await expect(claims.acquire(KEY, HOLDER_B, 1)).rejects.toThrow(/claims\/1: expected a claim/);
  });
});
