import { Claims } from '../../../src/checkpoint/claims.ts';
import { unpackScratch } from '../../../src/checkpoint/scratch.ts';
import type { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { demand, type Expected, equal, inspect } from './inspect.ts';
import type { UnreliableIo } from './unreliable-io.ts';
import { diskOf, fillDraft, KEY, LOCAL, memoryOf, reopen, STORE, save, writeFile } from './world.ts';

/** Something that a node does with the store, and what must hold if it was cut off anywhere in it. */
export interface Scenario {
  readonly name: string;
  /** Brings the store to where it begins; that is on stable storage then. */
  readonly arrange: (store: CheckpointStore) => Promise<void>;
  readonly act: (store: CheckpointStore) => Promise<void>;
  /** `done`: act() had returned. */
  readonly check: (io: UnreliableIo, done: boolean) => Promise<void>;
}

const holds =
  (cutOff: Expected, done: Expected): Scenario['check'] =>
  (io, isDone) =>
    inspect(io, isDone ? done : cutOff);

const saveAll =
  (...tags: readonly string[]): Scenario['arrange'] =>
  async (store) => {
    for (const tag of tags) await save(store, tag);
  };

export const HOLDER_A = { host: 'n1', machine: 'caddis-1', incarnation: '4711.0', bootId: 'boot-1' };
export const HOLDER_B = { host: 'n2', machine: 'caddis-2', incarnation: '4711.1', bootId: 'boot-2' };
const HOLDER_C = { host: 'n3', machine: 'caddis-3', incarnation: '4711.2', bootId: 'boot-3' };

export const scenarios: readonly Scenario[] = [
  {
    name: 'publish-first',
    arrange: async () => undefined,
    act: async (store) => void (await save(store, 'a')),
    check: holds({ required: [], allowed: ['a'] }, { required: ['a'] }),
  },
  {
    name: 'publish',
    arrange: saveAll('a'),
    act: async (store) => void (await save(store, 'b')),
    check: holds({ required: ['a'], allowed: ['b'] }, { required: ['a', 'b'] }),
  },
  {
    name: 'publish-and-prune',
    arrange: saveAll('a', 'b'),
    act: async (store) => {
      await save(store, 'c');
      await store.prune(KEY, 1);
    },
    // Whatever is cut off, either the new one is there or both old ones are.
    check: async (io, done) => {
      await inspect(io, done ? { required: ['c'] } : { required: [], allowed: ['a', 'b', 'c'] });
      await newestIs(io, ['b', 'c']);
    },
  },
  {
    name: 'prune',
    arrange: saveAll('a', 'b', 'c'),
    act: async (store) => void (await store.prune(KEY, 2)),
    check: holds({ required: ['b', 'c'], allowed: ['a'] }, { required: ['b', 'c'] }),
  },
  {
    name: 'remove',
    arrange: saveAll('a', 'b'),
    act: (store) => store.removeGeneration(KEY, 2),
    check: holds({ required: ['a'], allowed: ['b'] }, { required: ['a'] }),
  },
  {
    name: 'remove-job',
    arrange: saveAll('a', 'b'),
    act: async (store) => void (await store.removeJob(KEY)),
    check: async (io, done) => {
      const left = await reopen(io).generations(KEY);
      demand(left.length === 2 || left.length === 0, `${left.length} of 2 generations are left of the job`);
      await inspect(io, { required: [], allowed: done ? [] : ['a', 'b'] });
    },
  },
  {
    name: 'abandon-and-sweep',
    arrange: async (store) => {
      await save(store, 'a');
      await fillDraft(store, 'b');
      const io = store.io as UnreliableIo;
      io.clockMs += 3_600_000;
    },
    act: async (store) => {
      const { draft } = await fillDraft(store, 'c');
      await draft.abandon();
      await reopenKeeping(store).sweep({ isWanted: () => false, olderThanMs: 60_000 });
    },
    check: holds({ required: ['a'] }, { required: ['a'] }),
  },
  {
    name: 'acquire',
    arrange: async ({ io }) => {
      const claims = new Claims(io, STORE);
      await claims.release(await claims.acquire(KEY, HOLDER_A, 0));
    },
    act: async ({ io }) => void (await new Claims(io, STORE).acquire(KEY, HOLDER_B, 1)),
    check: async (io, done) => {
      const claims = new Claims(reopen(io).io, STORE);
      const current = await claims.current(KEY);
      demand(current?.epoch === 2 || (!done && current?.epoch === 1), `epoch ${current?.epoch} counts`);
      demand(current.holder.host === (current.epoch === 1 ? 'n1' : 'n2'), 'the holder is another');
      demand(
        current.released === (current.epoch === 1),
        'the release is lost, or a new claim is born with one',
      );
      const again = await claims.acquire(KEY, HOLDER_B, current.epoch);
      demand(
        again.epoch === 2 && (await claims.isMine(again)),
        'who was cut off cannot have the claim again',
      );
      const next = await claims.acquire(KEY, HOLDER_C, 2);
      demand(next.epoch === 3 && !(await claims.isMine(again)), 'two hold the job');
    },
  },
  {
    name: 'unpack',
    arrange: async (store) => {
      await save(store, 'a');
      await writeFile(store.io, `${LOCAL}/machine.img.part`, memoryOf('from an earlier try'));
    },
    act: unpack,
    check: async (io, done) => {
      const { io: after } = reopen(io);
      const there = (await after.readdir(LOCAL)).includes('machine.img');
      // A machine of this node ends with the node: what is not synced counts only where just the process died.
      if (io.onlyProcessDied) {
        demand(!done || there, 'the disk that was reported good is not there');
        demand(
          !there || equal(io.peek(`${LOCAL}/machine.img`), diskOf('a')),
          'a part of a disk has its name',
        );
      }
      await unpack(reopen(io));
      demand(equal(io.peek(`${LOCAL}/machine.img`), diskOf('a')), 'unpacking again gives another disk');
      await inspect(io, { required: ['a'] });
    },
  },
];

async function unpack(store: CheckpointStore): Promise<void> {
  const [one] = await store.generations(KEY);
  if (one?.state !== 'complete' || !one.manifest.scratch) throw new Error('nothing to unpack');
  await unpackScratch(store.io, one.scratchPath, `${LOCAL}/machine.img`, one.manifest.scratch, {
    owner: { uid: 64_055, gid: 64_055 },
  });
}

async function newestIs(io: UnreliableIo, tags: readonly string[]): Promise<void> {
  const store = reopen(io);
  const [next, before] = await store.generations(KEY);
  demand(next?.state === 'complete' && next.manifest.incarnation === 'next', 'no newest');
  demand(
    before?.state === 'complete' && tags.includes(before.manifest.incarnation),
    `the newest before the crash is not one of ${tags.join(' ')}`,
  );
}

/** Another process on the same store, with the weather of this one. */
function reopenKeeping(store: CheckpointStore): CheckpointStore {
  const io = store.io as UnreliableIo;
  const { weather } = io;
  const other = reopen(io);
  io.weather = weather;
  return other;
}
