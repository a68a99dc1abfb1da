import type { BatchSystem } from '../../integration/support/batch.ts';
import type { Arena, Variant } from './arena.ts';
import { type Point, pointsOf } from './points.ts';

/** A point that is not reached in so many moves is not there any more (it was one of a disturbed save, or of a larger image). */
const MOST_TRIES = 2;

/** Points where a death of QEMU or libvirtd is another thing than one of caddisd: around their own calls, and while images are written and read. */
const THEIRS =
  /^(rpc (suspend|snapshot|destroy|restore|resume|metadata) (sent|done)|write (draft\/memory|scratch part)|rename (generation|scratch disk)|fsync draft\/memory)$/;

/** From here on the checkpoint is there. */
const PUBLISHED = 'rename generation';
/** From here on the job may have run. */
const RUNS = 'create generation/resumed';

/**
 * Kills caddisd after every step of a save and of a restore, and QEMU and libvirtd around their own, one point of one job in each move of it. Points come from the moves
 * themselves: what an undisturbed one did is what is killed next. Ends when all were tried, or after `boundMs`; returns how many were not.
 */
export async function kills(arena: Arena, boundMs: number): Promise<number> {
  const until = Date.now() + boundMs;
  const queue: { variant: Variant; tries: number }[] = [];
  const known = new Set<string>();
  const learn = () => {
    for (const { side, steps } of arena.learnt.splice(0))
      for (const [index, point] of pointsOf(steps).entries()) {
        const name = `${side} ${point.point} ${point.nth} ${point.delayMs}`;
        if (known.has(name)) continue;
        known.add(name);
        const names = steps.map((step) => step.point);
        queue.push(
          ...variantsAt(point, side, names, known.size + index).map((variant) => ({ variant, tries: 0 })),
        );
      }
  };
  const next = (_system: BatchSystem, side: Variant['side']): Variant | undefined => {
    const found = queue.findIndex(({ variant }) => variant.side === side);
    const place = Math.max(found, 0);
    const [taken] = queue.splice(place, 1);
    if (taken) under.push(taken);
    return taken?.variant;
  };
  let under: typeof queue = [];
  await arena.move(() => undefined);
  learn();
  while (queue.length > 0 && Date.now() < until) {
    under = [];
    await arena.fill(PER_SYSTEM);
    const missed = new Set(await arena.move(next));
    queue.push(
      ...under
        .filter(({ variant, tries }) => missed.has(variant) && tries + 1 < MOST_TRIES)
        .map(({ variant, tries }) => ({ variant, tries: tries + 1 })),
    );
    learn();
  }
  return queue.length;
}

export const PER_SYSTEM = 2;

function variantsAt(point: Point, side: Variant['side'], names: readonly string[], turn: number): Variant[] {
  const done = side === 'save' ? 'saved' : 'restored';
  const at = names.indexOf(point.point);
  const isPublished = names.includes(PUBLISHED) && at >= names.indexOf(PUBLISHED);
  const mayRun = names.includes(RUNS) && at >= names.indexOf(RUNS);
  const base = { ...point, side };
  const variants: Variant[] = [
    {
      ...base,
      kind: `caddisd dies while a job is ${done}`,
      act: 'kill-caddisd',
      keeps: true,
      // Now and then longer than an epilog waits for it (hooks/client: 5 s).
      ...(turn % 6 === 0 ? { backAfterMs: 8_000 } : {}),
    },
  ];
  if (!THEIRS.test(point.point)) return variants;
  const stateIsSafe = side === 'save' ? isPublished : !mayRun;
  variants.push({
    ...base,
    kind: `QEMU dies while its job is ${done}`,
    act: 'kill-qemu',
    keeps: stateIsSafe,
  });
  variants.push({
    ...base,
    kind: `libvirtd dies while a job is ${done}`,
    act: 'kill-libvirtd',
    keeps: stateIsSafe,
  });
  return variants;
}
