import { isCheckpointRefused } from '../../../src/checkpoint/errors.ts';
import { unpackScratch } from '../../../src/checkpoint/scratch.ts';
import type { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { random } from '../../unit/guest/random.ts';
import type { Tally } from '../fault.ts';
import { demand, restorable } from './inspect.ts';
import type { UnreliableIo } from './unreliable-io.ts';
import { KEY, LOCAL, newWorld, save } from './world.ts';

const FILES = { memory: 120, scratch: 120, 'manifest.json': 240 } as const;
type File = keyof typeof FILES;

/** The newest checkpoint decays in one place: it is refused, and the one before it is restored. */
export async function damage(tally: Tally): Promise<void> {
  const { io, store } = await newWorld();
  await save(store, 'a');
  await save(store, 'b');
  for (const [file, tries] of Object.entries(FILES) as [File, number][]) {
    const path = `/store/jobs/slurm-4711/generations/2/${file}`;
    const whole = Uint8Array.from(io.peek(path));
    const attempt = (kind: string, variant: string, content: Uint8Array) =>
      tally.variant(`${kind}-${file}`, variant, async () => {
        io.damage(path, content);
        try {
          await olderIsRestored(io, store, file);
        } finally {
          io.damage(path, whole);
        }
      });
    for (let seed = 0; seed < tries; seed++) {
      const draw = random(seed);
      const bit = draw(whole.length * 8);
      await attempt('bit-flip', `bit ${bit}`, flipped(whole, bit));
      const length = seed === 0 ? 0 : draw(whole.length);
      await attempt('truncated', `to ${length} bytes`, whole.subarray(0, length));
    }
    await attempt('exchanged', 'with that of the older one', io.peek(path.replace('/2/', '/1/')));
    await attempt('longer', 'by a byte', Uint8Array.from([...whole, 0]));
  }
}

async function olderIsRestored(io: UnreliableIo, store: CheckpointStore, file: File): Promise<void> {
  const restored = await restorable(store);
  demand(
    restored?.manifest.incarnation === 'a',
    `${restored?.manifest.incarnation ?? 'nothing'} is restored`,
  );
  const [newest] = (await store.generations(KEY)).filter(({ number }) => number === 2);
  if (file !== 'scratch' || newest?.state !== 'complete' || !newest.manifest.scratch) return;
  const disk = `${LOCAL}/machine.img`;
  const refused = await unpackScratch(io, newest.scratchPath, disk, newest.manifest.scratch, {
    owner: { uid: 0, gid: 0 },
  }).then(() => false, isCheckpointRefused);
  demand(refused, 'a damaged scratch disk is unpacked');
  demand(
    (await io.readdir(LOCAL)).every((name) => !name.startsWith('machine')),
    'a damaged disk is left',
  );
}

function flipped(content: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(content);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}
