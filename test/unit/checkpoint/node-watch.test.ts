import { beforeEach, describe, expect, it } from 'vitest';

import { StoreUnavailable } from '../../../src/checkpoint/errors.ts';
import { Heartbeat } from '../../../src/checkpoint/heartbeat.ts';
import { NodeWatch } from '../../../src/checkpoint/node-watch.ts';
import type { UnreliableIo } from '../../fault/store/unreliable-io.ts';
import { newWorld, STORE } from '../../fault/store/world.ts';

const leaseMs = 60_000;
let io: UnreliableIo;
let nowMs: number;
let heart: Heartbeat;
let watch: NodeWatch;

beforeEach(async () => {
  ({ io } = await newWorld());
  nowMs = 5_000_000;
  heart = new Heartbeat(io, STORE, { host: 'n1', bootId: 'boot-1' });
  watch = new NodeWatch(io, STORE, { leaseMs, now: () => nowMs });
});

/** Looks every ten seconds, and says what the last look saw. */
async function watchFor(ms: number, between: () => Promise<void> = async () => undefined) {
  let state = await watch.observe('n1');
  for (const end = nowMs + ms; nowMs < end; ) {
    nowMs += 10_000;
    await between();
    state = await watch.observe('n1');
  }
  return state;
}

describe('a node', () => {
  it('is alive while its counter moves', async () => {
    expect(await watchFor(300_000, () => heart.beat())).toEqual({
      kind: 'alive',
      stillMs: 0,
      bootId: 'boot-1',
    });
  });

  it('stands still from the last move that was seen', async () => {
    await watchFor(20_000, () => heart.beat());
    expect(await watchFor(30_000)).toMatchObject({ kind: 'alive', stillMs: 30_000 });
    expect(await watchFor(40_000)).toEqual({ kind: 'still', stillMs: 70_000, bootId: 'boot-1' });
    await heart.beat();
    expect(await watch.observe('n1')).toMatchObject({ kind: 'alive', stillMs: 0 });
  });

  it('that was never seen to move stands still since we look, whatever its file says', async () => {
    await heart.beat();
    expect(await watch.observe('n1')).toEqual({ kind: 'still', stillMs: 0, bootId: 'boot-1' });
    expect(await watchFor(90_000)).toMatchObject({ kind: 'still', stillMs: 90_000 });
  });

  it('without a file stands still too', async () => {
    await watch.observe('n1');
    expect(await watchFor(70_000)).toEqual({ kind: 'still', stillMs: 70_000, bootId: undefined });
  });

  it('whose caddisd began again is alive', async () => {
    await watchFor(20_000, () => heart.beat());
    const counterAgain = new Heartbeat(io, STORE, { host: 'n1', bootId: 'boot-2' });
    for (let i = 0; i < 2; i++) await counterAgain.beat();
    nowMs += 10_000;
    expect(await watch.observe('n1')).toEqual({ kind: 'alive', stillMs: 0, bootId: 'boot-2' });
  });

  it('is not judged by a time in which nobody looked', async () => {
    await watchFor(20_000, () => heart.beat());
    nowMs += 500_000;
    expect(await watch.observe('n1')).toMatchObject({ kind: 'still', stillMs: 0 });
    expect(await watchFor(40_000)).toMatchObject({ kind: 'still', stillMs: 40_000 });
  });

  it('whose file was torn by a crash is no news', async () => {
    await watchFor(20_000, () => heart.beat());
    io.damage(`${STORE}/nodes/n1`, Buffer.from('{"boot'));
    nowMs += 10_000;
    expect(await watch.observe('n1')).toMatchObject({ kind: 'alive', stillMs: 10_000 });
  });

  it('that has no machines says so, and takes it back by beating', async () => {
    await heart.release();
    expect(await watch.observe('n1')).toEqual({ kind: 'released', bootId: 'boot-1' });
    await heart.beat();
    expect(await watch.observe('n1')).toMatchObject({ kind: 'alive' });
  });

  it('is not judged by a store that is not mounted', async () => {
    await watchFor(20_000, () => heart.beat());
    await io.rename(STORE, '/elsewhere');
    await expect(watch.observe('n1')).rejects.toThrow(StoreUnavailable);
    await expect(heart.beat()).rejects.toThrow(StoreUnavailable);
  });

  it('cannot be named so that it leaves its directory', async () => {
    await expect(watch.observe('../jobs')).rejects.toThrow(/no host name/);
  });
});
