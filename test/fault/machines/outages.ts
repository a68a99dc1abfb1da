import type { Lab } from '../../lab/host.ts';
import { on } from '../../lab/process.ts';
import type { Variant } from './variant.ts';

/** A blip that TCP gets over, and one after which sshfs has to connect anew and answers EIO until then. */
const AWAY_MS = [4_000, 25_000];
const SAVE_POINTS = [
  'create draft/memory',
  'fsync draft/memory',
  'writeFile draft/manifest.json',
  'rename generation',
  'fsync generations',
];
const RESTORE_POINTS = [
  'fsync claims',
  'create scratch part',
  'rename scratch disk',
  'writeFile generation/resumed',
];
/** The rerun's prolog waits for the claim meanwhile. */
const SLOW_MS = 20_000;

/** One node's way to the store is cut at a point of a save or restore, and heals. */
export function outageVariants(lab: Lab): Variant[] {
  const at = (side: Variant['side'], point: string) =>
    AWAY_MS.map(
      (ms): Variant => ({
        kind: `the store is away for ${ms / 1000} s while a job is ${side === 'save' ? 'saved' : 'restored'}`,
        ...{ side, point, nth: 1, delayMs: 0, act: 'hold' as const },
        keeps: ms === AWAY_MS[0],
        besides: async ({ host }) => {
          const healed = await cut(lab, host.address);
          return { over: after(ms, healed) };
        },
      }),
    );
  return [
    ...SAVE_POINTS.flatMap((point) => at('save', point)),
    ...RESTORE_POINTS.flatMap((point) => at('restore', point)),
  ];
}

/** A save that takes so long that the rerun has begun to wait for its end. */
export function raceVariants(): Variant[] {
  return ['create draft/memory', 'rename generation', 'rm places'].map((point) => ({
    kind: 'the rerun starts while the save is going on',
    ...{ side: 'save' as const, point, nth: 1, delayMs: 0, act: 'hold' as const },
    keeps: true,
    besides: async () => {
      await after(SLOW_MS, async () => undefined);
      return undefined;
    },
  }));
}

let cuts = 0;

/** Several jobs' variants may cut one host off at once, each with a table of its own. What comes back heals this cut. */
async function cut({ head }: Lab, address: string): Promise<() => Promise<void>> {
  const table = `caddis_fault_${++cuts}`;
  await on(head, ['/usr/sbin/nft', '-f', '-'], {
    input: `table inet ${table} {
  chain input {
    type filter hook input priority 0;
    ip saddr ${address} tcp dport 22 drop
  }
}
`,
  });
  return async () => {
    await on(head, ['/usr/sbin/nft', 'delete', 'table', 'inet', table]);
  };
}

async function after(ms: number, work: () => Promise<void>): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
  await work();
}
