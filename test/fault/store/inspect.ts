import { isCheckpointRefused } from '../../../src/checkpoint/errors.ts';
import type { Generation } from '../../../src/checkpoint/generation.ts';
import { unpackScratch } from '../../../src/checkpoint/scratch.ts';
import type { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { Violation } from '../fault.ts';
import type { UnreliableIo } from './unreliable-io.ts';
import { diskOf, KEY, LOCAL, memoryOf, reopen, STORE, save, TARGET } from './world.ts';

export function demand(holds: boolean, text: string): asserts holds {
  if (!holds) throw new Violation(text);
}

export interface Expected {
  /** Tags of checkpoints that must be there and whole. */
  readonly required: readonly string[];
  /** Tags that may be there; whole if so. */
  readonly allowed?: readonly string[];
}

/** After a crash: every generation that has a number is whole, none that was acknowledged is lost, and the store goes on to work. */
export async function inspect(io: UnreliableIo, { required, allowed = [] }: Expected): Promise<void> {
  const store = reopen(io);
  const found = await tagsOf(store);
  for (const tag of required) demand(found.includes(tag), `the good checkpoint ${tag} is lost`);
  for (const tag of found)
    demand([...required, ...allowed].includes(tag), `checkpoint ${tag} should not be there`);
  io.clockMs += 3_600_000;
  await store.sweep({ isWanted: () => false, olderThanMs: 60_000 });
  for (const path of [
    `${STORE}/jobs`,
    `${STORE}/jobs/slurm-4711/generations`,
    `${STORE}/jobs/slurm-4711/claims`,
  ]) {
    const hidden = (await io.readdir(path).catch(() => [])).filter((name) => name.startsWith('.'));
    demand(hidden.length === 0, `left in ${path} after a sweep: ${hidden.join(' ')}`);
  }
  demand(sameTags(found, await tagsOf(store)), 'a sweep changed the generations');
  await save(store, 'next', 9);
  const next = await restorable(store);
  demand(
    next?.manifest.incarnation === 'next',
    'a checkpoint that is saved after the crash is not the newest',
  );
}

/** What a node restores: the newest generation whose hashes match. Throws Violation when that is not, byte for byte, what was saved. */
export async function restorable(store: CheckpointStore): Promise<Generation | undefined> {
  const refused = new Set<number>();
  for (;;) {
    const { generation } = await store.newest(TARGET, refused);
    if (!generation || (await isWhole(store, generation))) return generation;
    refused.add(generation.number);
  }
}

async function tagsOf(store: CheckpointStore): Promise<string[]> {
  const tags: string[] = [];
  for (const one of await store.generations(KEY)) {
    if (one.state === 'refused') throw new Violation(`something torn has a number: ${one.refusal}`);
    demand(await isWhole(store, one), `checkpoint ${one.number} looks complete and is damaged`);
    tags.push(one.manifest.incarnation);
  }
  return tags;
}

async function isWhole(store: CheckpointStore, one: Generation): Promise<boolean> {
  try {
    await store.verify(one);
  } catch (error) {
    if (isCheckpointRefused(error)) return false;
    throw error;
  }
  const io = store.io as UnreliableIo;
  const tag = one.manifest.incarnation;
  demand(equal(io.peek(one.memoryPath), memoryOf(tag)), `the memory of ${tag} passes and is another`);
  demand(one.manifest.scratch !== undefined, `the scratch disk of ${tag} is gone`);
  const disk = `${LOCAL}/look.img`;
  await unpackScratch(io, one.scratchPath, disk, one.manifest.scratch, { owner: { uid: 0, gid: 0 } });
  demand(equal(io.peek(disk), diskOf(tag)), `the scratch disk of ${tag} passes and is another`);
  return true;
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function sameTags(a: readonly string[], b: readonly string[]): boolean {
  return [...a].sort().join() === [...b].sort().join();
}
