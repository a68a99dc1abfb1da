import type { Arena } from './arena.ts';
import { type Point, pointsOf } from './points.ts';
import { isWanted, type Variant } from './variant.ts';
import type { WatchedHost } from './watched-host.ts';

/** A point that is not reached in so many moves is not there any more (it was one of a disturbed save, or of a larger image). */
const MOST_TRIES = 2;

/** Points where a death of QEMU or libvirtd is another thing than one of caddisd: around their own calls, and while images are written and read. */
const THEIRS =
  /^(rpc (suspend|snapshot|destroy|restore|migrate|resume|metadata) (sent|done)|write (draft\/memory|scratch part)|rename (generation|scratch disk)|fsync draft\/memory)$/;

/** From here on the checkpoint is there. */
const PUBLISHED = 'rename generation';
/** From here on the job may have run. */
const RUNS = 'writeFile generation/resumed';

/**
 * Kills caddisd after every step of a save and of a restore, and QEMU and libvirtd around their own, one point of one job in each move of it. Points come from the moves
 * themselves: what an undisturbed one did is what is killed next. Ends when all were tried, or after `boundMs`; returns how many were not.
 */
export async function kills(arena: Arena, boundMs: number): Promise<number> {
  const known = new Set<string>();
  const learn = (): Variant[] =>
    arena.learnt.splice(0).flatMap(({ side, steps }) => {
      const names = steps.map((step) => step.point);
      return pointsOf(steps).flatMap((point) => {
        const name = `${side} ${point.point} ${point.nth} ${point.delayMs}`;
        if (known.has(name)) return [];
        known.add(name);
        return variantsAt(point, side, names, known.size).filter(isWanted);
      });
    });
  await arena.move(() => undefined);
  return meetAll(arena, learn(), { until: Date.now() + boundMs, more: learn });
}

/** Has every variant meet a job, as many in each move as there are jobs. Returns how many were left when the time was over. */
export async function meetAll(
  arena: Arena,
  variants: readonly Variant[],
  { until, more = () => [] }: { readonly until: number; readonly more?: () => readonly Variant[] },
): Promise<number> {
  const queue = variants.map((variant) => ({ variant, tries: 0 }));
  const begun = new Map<string, number>();
  while (queue.length > 0 && Date.now() < until) {
    const under: typeof queue = [];
    // Of caddisd's two threads for the store one must be left, by which it says that it lives.
    const held = new Set<WatchedHost>();
    await arena.fill(PER_SYSTEM);
    const missed = new Set(
      await arena.move((side, struck) => {
        const free = queue.filter(({ variant }) => variant.act !== 'hold' || !held.has(struck[variant.side]));
        const taken = leastTried(free, side, begun);
        if (!taken) return undefined;
        if (taken.variant.act === 'hold') held.add(struck[taken.variant.side]);
        queue.splice(queue.indexOf(taken), 1);
        begun.set(taken.variant.kind, (begun.get(taken.variant.kind) ?? 0) + 1);
        under.push(taken);
        return taken.variant;
      }),
    );
    queue.push(
      ...under
        .filter(({ variant, tries }) => missed.has(variant) && tries + 1 < MOST_TRIES)
        .map(({ variant, tries }) => ({ variant, tries: tries + 1 })),
      ...more().map((variant) => ({ variant, tries: 0 })),
    );
  }
  return queue.length;
}

export const PER_SYSTEM = 2;

/** Of the kind that was begun least often so far: when the time is over, each kind had its share. One of the other side when there is none of this one. */
function leastTried<T extends { readonly variant: Variant }>(
  queue: readonly T[],
  side: Variant['side'],
  begun: ReadonlyMap<string, number>,
): T | undefined {
  const own = queue.filter(({ variant }) => variant.side === side);
  const all = own.length > 0 ? own : queue;
  const least = Math.min(...all.map(({ variant }) => begun.get(variant.kind) ?? 0));
  return all.find(({ variant }) => (begun.get(variant.kind) ?? 0) === least);
}

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
    keeps: true,
  });
  return variants;
}
