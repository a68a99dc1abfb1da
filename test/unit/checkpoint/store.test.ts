import { describe, expect, it } from 'vitest';

import { ClaimLost, StoreFull, StoreUnavailable } from '../../../src/checkpoint/errors.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import type { Leftover } from '../../../src/checkpoint/sweep.ts';
import {
  fillDraft,
  KEY,
  memoryOf,
  newWorld,
  OWNER,
  reopen,
  STORE,
  save,
  TARGET,
} from '../../fault/store/world.ts';

const GENERATIONS = `${STORE}/jobs/slurm-4711/generations`;
const HOUR = 3_600_000;
const numbers = (list: readonly { number: number }[]) => list.map(({ number }) => number);

describe('a draft', () => {
  it('is nothing until it is published, and a generation then', async () => {
    const { store } = await newWorld();
    const { draft, manifest } = await fillDraft(store, 'a');
    expect(await store.generations(KEY)).toEqual([]);
    expect((await store.newest(TARGET)).generation).toBeUndefined();
    const published = await draft.publish(manifest);
    expect((await store.newest(TARGET)).generation).toEqual(published);
    expect(published).toMatchObject({ number: 1, memoryPath: `${GENERATIONS}/1/memory` });
    await store.verify(published);
  });

  it('is gone when it is abandoned; a published one stays', async () => {
    const { io, store } = await newWorld();
    const { draft } = await fillDraft(store, 'a');
    await draft.abandon();
    expect(await io.readdir(GENERATIONS)).toEqual([]);
    const published = await fillDraft(store, 'b');
    await published.draft.publish(published.manifest);
    await published.draft.abandon();
    expect(await io.readdir(GENERATIONS)).toEqual(['1']);
  });

  it('is not published when its files are not those of the manifest', async () => {
    const { store } = await newWorld();
    const { draft, manifest } = await fillDraft(store, 'a');
    const { memory } = manifest;
    await expect(draft.publish({ ...manifest, memory: { ...memory, bytes: 1 } })).rejects.toThrow(
      /memory: expected 1 bytes, 9000: torn/,
    );
    const other = { ...KEY, jobId: '4712' };
    await expect(draft.publish({ ...manifest, key: other })).rejects.toThrow(/slurm-4711.*slurm-4712/);
    expect(await store.generations(KEY)).toEqual([]);
  });

  it('is not published when its claim is lost at the last moment', async () => {
    const { store } = await newWorld();
    const { draft, manifest } = await fillDraft(store, 'a');
    const confirm = async () => {
      throw new ClaimLost('n2 has it');
    };
    await expect(draft.publish(manifest, { confirm })).rejects.toThrow('n2 has it');
    expect(await store.generations(KEY)).toEqual([]);
  });

  it('that another writer overtook fails, and what the other published stays', async () => {
    const { io, store } = await newWorld();
    const slow = await fillDraft(store, 'slow');
    await io.rename(slow.draft.directory, `${GENERATIONS}/aside`);
    await save(store, 'quick', 2);
    await io.rename(`${GENERATIONS}/aside`, slow.draft.directory);
    await expect(slow.draft.publish(slow.manifest)).rejects.toThrow(ClaimLost);
    expect((await store.newest(TARGET)).generation?.manifest.incarnation).toBe('quick');
  });

  it('that was taken away says so', async () => {
    const { store } = await newWorld();
    const { draft, manifest } = await fillDraft(store, 'a');
    await store.removeJob(KEY);
    await expect(draft.publish(manifest)).rejects.toThrow(/memory: expected 9000 bytes, there is none/);
  });
});

describe('generations', () => {
  it('are counted on, and come newest first', async () => {
    const { store } = await newWorld();
    for (const tag of ['a', 'b', 'c']) await save(store, tag);
    expect(numbers(await store.generations(KEY))).toEqual([3, 2, 1]);
  });

  it('of a later epoch are newer, whatever their number', async () => {
    const { store } = await newWorld();
    await save(store, 'successor', 2);
    await save(store, 'straggler', 1);
    expect((await store.newest(TARGET)).generation?.manifest.incarnation).toBe('successor');
  });

  it('that are not for this node are passed over with the reason', async () => {
    const { io, store } = await newWorld();
    for (const tag of ['a', 'b', 'c']) await save(store, tag);
    io.damage(`${GENERATIONS}/3/memory`, memoryOf('c').subarray(1));
    const { generation, refused } = await store.newest(TARGET, new Set([2]));
    expect(generation?.number).toBe(1);
    expect(refused).toEqual([{ number: 3, why: expect.stringContaining('torn') as string }]);
    const none = await store.newest({ ...TARGET, cpuModel: 'EPYC' });
    expect(none.generation).toBeUndefined();
    expect(numbers(none.refused)).toEqual([3, 2, 1]);
  });

  it('of another job in the place of this one are refused', async () => {
    const { io, store } = await newWorld();
    const { number } = await save(store, 'a');
    await io.mkdir(`${STORE}/jobs/slurm-9`);
    await io.mkdir(`${STORE}/jobs/slurm-9/generations`);
    await io.mkdir(`${STORE}/jobs/slurm-9/generations/1`);
    await io.link(
      `${GENERATIONS}/${number}/manifest.json`,
      `${STORE}/jobs/slurm-9/generations/1/manifest.json`,
    );
    expect(await store.generations({ ...KEY, jobId: '9' })).toMatchObject([
      { state: 'refused', refusal: expect.stringContaining('it is of slurm-4711') as string },
    ]);
  });

  it('are pruned to the newest, and what is torn below them goes too', async () => {
    const { io, store } = await newWorld();
    for (const tag of ['a', 'b', 'c', 'd']) await save(store, tag);
    await io.unlink(`${GENERATIONS}/1/manifest.json`);
    expect(await store.prune(KEY, 2)).toEqual([1, 2]);
    expect(numbers(await store.generations(KEY))).toEqual([4, 3]);
    expect(await store.prune(KEY, 3)).toEqual([]);
    await expect(store.removeGeneration(KEY, 7)).rejects.toThrow(/no checkpoint slurm-4711\/7/);
  });

  it('go with their job, in the list too', async () => {
    const { store } = await newWorld();
    await save(store, 'a');
    await save(store, 'b');
    expect(await store.list()).toMatchObject([{ number: 1 }, { number: 2, state: 'complete' }]);
    expect(await store.removeJob(KEY)).toBe(true);
    expect(await store.list()).toEqual([]);
    expect(await store.jobs()).toEqual([]);
    expect(await store.removeJob(KEY)).toBe(false);
  });
});

describe('a store', () => {
  it('that is not there is unavailable, and never one without checkpoints', async () => {
    const { io } = await newWorld();
    const nowhere = new CheckpointStore({ dir: '/nowhere', io });
    for (const asked of [
      () => nowhere.prepare(),
      () => nowhere.generations(KEY),
      () => nowhere.newest(TARGET),
      () => nowhere.list(),
      () => nowhere.begin(KEY, { owner: OWNER, expectedBytes: 0 }),
      () => nowhere.removeJob(KEY),
    ])
      await expect(asked()).rejects.toThrow(StoreUnavailable);
  });

  it('says which bound a checkpoint would exceed', async () => {
    const { io, store } = await newWorld();
    await save(store, 'a');
    const small = new CheckpointStore({ dir: STORE, io, quotaBytes: 20_000 });
    await expect(small.begin(KEY, { owner: OWNER, expectedBytes: 8192 })).rejects.toThrow(
      /KiB used and 8 KiB wanted exceed checkpoint.quota of 19.5 KiB/,
    );
    await expect(store.begin(KEY, { owner: OWNER, expectedBytes: 2e12 })).rejects.toThrow(StoreFull);
    await (await small.begin(KEY, { owner: OWNER, expectedBytes: 100 })).abandon();
  });

  it('forgets jobs that nobody wants after their time', async () => {
    const { io, store } = await newWorld();
    await save(store, 'a');
    const expire = (isWanted: boolean) => store.expire({ isWanted: () => isWanted, olderThanMs: HOUR });
    expect(await expire(false)).toEqual([]);
    io.clockMs += 2 * HOUR;
    expect(await expire(true)).toEqual([]);
    expect(await expire(false)).toEqual([KEY]);
  });
});

describe('a sweep', () => {
  const sweep = (store: CheckpointStore, isWanted: (draft: Leftover) => boolean) =>
    store.sweep({ isWanted, olderThanMs: HOUR });

  it('removes drafts that are old and that nobody wants, and asks with their owner', async () => {
    const { io, store } = await newWorld();
    await save(store, 'a');
    const { draft } = await fillDraft(store, 'b');
    const other = reopen(io);
    expect(await sweep(other, () => false)).toEqual([]);
    io.clockMs += 2 * HOUR;
    const asked: Leftover[] = [];
    expect(await sweep(other, (leftover) => asked.push(leftover) > 0)).toEqual([]);
    expect(asked).toEqual([{ key: KEY, directory: draft.directory, owner: OWNER, idleMs: 2 * HOUR }]);
    expect(await sweep(other, () => false)).toEqual([draft.directory]);
    expect(await io.readdir(GENERATIONS)).toEqual(['1']);
  });

  it('leaves what is being written: here, or by anyone within the time', async () => {
    const { io, store } = await newWorld();
    const { draft, manifest } = await fillDraft(store, 'a');
    io.clockMs += 2 * HOUR;
    expect(await sweep(store, () => false)).toEqual([]);
    const memory = await io.open(draft.memoryPath, 'write');
    await memory.write(memoryOf('a'), 0);
    expect(await sweep(reopen(io), () => false)).toEqual([]);
    await draft.publish(manifest);
  });

  it('removes halves of what was being removed, and temporary files', async () => {
    const { io, store } = await newWorld();
    await save(store, 'a');
    await io.mkdir(`${GENERATIONS}/.removed-7-0123456789ab`);
    await io.create(`${GENERATIONS}/.removed-7-0123456789ab/memory`, Buffer.from('x'));
    await io.mkdir(`${STORE}/jobs/.removed-slurm-1-0123456789ab`);
    await io.create(`${STORE}/nodes/.n1-0123456789ab`, Buffer.from('x'));
    await io.create(`${STORE}/.probe-1`, Buffer.from(''));
    io.clockMs += 2 * HOUR;
    expect(await sweep(store, () => true)).toHaveLength(4);
    expect(await io.readdir(`${STORE}/nodes`)).toEqual([]);
    expect((await io.readdir(STORE)).sort()).toEqual(['jobs', 'nodes']);
    expect(await io.readdir(GENERATIONS)).toEqual(['1']);
  });
});

describe('a turn', () => {
  it('is one node’s of all, until the time is over', async () => {
    const { io, store } = await newWorld();
    const other = new CheckpointStore({ dir: STORE, io });
    expect([await store.takeTurn(HOUR), await other.takeTurn(HOUR), await store.takeTurn(HOUR)]).toEqual([
      true,
      false,
      false,
    ]);
    io.clockMs += HOUR;
    expect([await other.takeTurn(HOUR), await store.takeTurn(HOUR)]).toEqual([true, false]);
    expect((await io.readdir(STORE)).filter((name) => name.startsWith('.probe'))).toEqual([]);
  });
});
