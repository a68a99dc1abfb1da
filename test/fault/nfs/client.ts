/**
 * Uses a checkpoint store on a mount, as one of two clients: `client.mjs DIR 0|1 UID STRIDE FIRST`, of which each cuts off after every STRIDE-th operation from the FIRST on, one after the other's. Runs as root in a guest (part.ts starts it), since only guests are NFS clients of the lab. Prints one JSON object.
 */
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { Claims } from '../../../src/checkpoint/claims.ts';
import { isClaimLost } from '../../../src/checkpoint/errors.ts';
import type { StoreIo } from '../../../src/checkpoint/io.ts';
import { nodeIo } from '../../../src/checkpoint/node-io.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { freshen } from '../../../src/checkpoint/tree.ts';
import { KEY, LOCAL, memoryOf, save, TARGET } from '../store/world.ts';
import { Cut, CutIo } from './cut-io.ts';

const [dir = '', who = '', serviceUid = '', stride = '1', first = '0'] = process.argv.slice(2);
const RACES = 10;
const TURNS = 4;
const BARRIER_MS = 120_000;
const plain = nodeIo();
const outcomes: { kind: string; variant: string; what?: string }[] = [];

/** `act` is cut off after each of its operations in turn; `required` and `allowed`: checkpoints that must, and may, be there then. */
interface Scenario {
  readonly name: string;
  readonly arrange: readonly string[];
  readonly act: (store: CheckpointStore) => Promise<unknown>;
  readonly check: (tags: readonly string[]) => boolean;
}

const scenarios: readonly Scenario[] = [
  {
    name: 'publish-and-prune',
    arrange: ['a', 'b'],
    act: async (store) => {
      await save(store, 'c');
      await store.prune(KEY, 2);
    },
    check: (tags) => tags.includes('b') && (tags.includes('a') || tags.includes('c')),
  },
  {
    name: 'remove',
    arrange: ['a', 'b'],
    act: (store) => store.removeGeneration(KEY, 2),
    check: (tags) => tags.includes('a'),
  },
  {
    name: 'remove-job',
    arrange: ['a', 'b'],
    act: (store) => store.removeJob(KEY),
    check: ({ length }) => length === 0 || length === 2,
  },
  {
    name: 'claim-and-release',
    arrange: ['a'],
    act: async ({ io, dir: at }) => {
      const claims = new Claims(io, at);
      await claims.release(await claims.acquire(KEY, holder('x'), 0));
    },
    check: (tags) => tags.includes('a'),
  },
];

async function attempt(kind: string, variant: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    outcomes.push({ kind, variant });
  } catch (error) {
    outcomes.push({
      kind,
      variant,
      what: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
  }
}

function demand(holds: boolean, text: string): asserts holds {
  if (!holds) throw new Error(text);
}

async function newStore(name: string, io: StoreIo = plain): Promise<CheckpointStore> {
  const at = join(dir, name);
  mkdirSync(at, { mode: 0o700 });
  const store = new CheckpointStore({ dir: at, io });
  await store.prepare();
  return store;
}

/** Everything that has a number is whole and the service account's own. */
async function tagsOf(store: CheckpointStore): Promise<string[]> {
  const tags: string[] = [];
  for (const one of await store.generations(KEY)) {
    demand(
      one.state === 'complete',
      `something torn has a number: ${one.state === 'refused' && one.refusal}`,
    );
    await store.verify(one);
    demand(
      Buffer.compare(readFileSync(one.memoryPath), memoryOf(one.manifest.incarnation)) === 0,
      'another image passes',
    );
    for (const path of [one.directory, one.memoryPath, one.scratchPath]) {
      const { uid, mode } = statSync(path);
      demand(
        uid === Number(serviceUid) && (mode & 0o077) === 0,
        `${path} is of uid ${uid}, mode ${mode.toString(8)}`,
      );
    }
    tags.push(one.manifest.incarnation);
  }
  return tags;
}

async function cutOff({ name, arrange, act, check }: Scenario): Promise<void> {
  for (let after = Number(first) + Number(who), done = false; !done; after += Number(stride))
    await attempt(`nfs ${name}`, `client ${who}, cut off after ${after} operations`, async () => {
      const store = await newStore(`${who}-${name}-${after}`);
      for (const tag of arrange) await save(store, tag);
      const cut = new CutIo(plain, after);
      await act(new CheckpointStore({ dir: store.dir, io: cut.io })).then(
        () => {
          done = true;
        },
        (error: unknown) => demand(error instanceof Cut, `it failed otherwise: ${error}`),
      );
      const tags = await tagsOf(store);
      demand(check(tags), `there are ${tags.join(' ')}`);
      await save(store, 'next', 9);
      demand((await tagsOf(store))[0] === 'next', 'what is saved afterwards is not the newest');
    }).finally(() => {
      // Of one that fails always there would be no end.
      if (after > 300) done = true;
    });
}

function holder(incarnation: string) {
  return {
    host: `client-${who}`,
    machine: `caddis-${who}`,
    incarnation: `${who}.${incarnation}`,
    bootId: `boot-${who}`,
  };
}

async function barrier(name: string): Promise<void> {
  const barriers = join(dir, 'barriers');
  await plain.create(join(barriers, `${name}-${who}`), Buffer.from(''));
  const other = `${name}-${who === '0' ? '1' : '0'}`;
  for (const begun = performance.now(); !(await plain.readdir(barriers)).includes(other); await sleep(50)) {
    demand(performance.now() - begun < BARRIER_MS, `the other client did not come to ${name}`);
    await freshen(plain, barriers);
  }
}

/** Both want each epoch at the same moment. */
async function race(store: CheckpointStore): Promise<unknown[]> {
  const claims = new Claims(store.io, store.dir);
  const races: unknown[] = [];
  for (let epoch = 1; epoch <= RACES; epoch++) {
    await barrier(`race-${epoch}`);
    const mine = await claims.acquire(KEY, holder(`${epoch}`), epoch - 1).catch((error: unknown) => {
      if (isClaimLost(error)) return undefined;
      throw error;
    });
    await barrier(`raced-${epoch}`);
    const isMine = mine !== undefined && (await claims.isMine(mine));
    races.push({ epoch, won: mine !== undefined, isMine, current: (await claims.current(KEY))?.holder.host });
    await barrier(`judged-${epoch}`);
  }
  return races;
}

/** What one client has published the other sees whole at once, and what it has removed is gone. */
async function turns(store: CheckpointStore): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++)
    await attempt('nfs two clients', `client ${who}, turn ${turn}`, async () => {
      const isMine = turn % 2 === Number(who);
      if (isMine) await save(store, `turn-${turn}`);
      await barrier(`saved-${turn}`);
      // As a rerun's prolog does it, which may have looked a moment before.
      await store.newest(TARGET);
      demand((await tagsOf(store)).join() === `turn-${turn}`, 'what the other has published is not there');
      await barrier(`seen-${turn}`);
      if (!isMine) await store.removeJob(KEY);
      await barrier(`removed-${turn}`);
      await store.newest(TARGET);
      demand((await tagsOf(store)).length === 0, 'what the other has removed is still there');
      await barrier(`turned-${turn}`);
    });
}

mkdirSync(LOCAL, { recursive: true });
for (const scenario of scenarios) await cutOff(scenario);
await barrier('begin');
const shared = new CheckpointStore({ dir: join(dir, 'shared'), io: plain });
await turns(shared);
const races = await race(shared);
process.stdout.write(`${JSON.stringify({ outcomes, races })}\n`);
