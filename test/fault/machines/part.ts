import { untilNoTrouble } from '../../integration/support/faults.ts';
import { untilNothingLeft } from '../../integration/support/leftovers.ts';
import { current, down, up } from '../../lab/lab.ts';
import type { FaultPart } from '../fault.ts';
import { Arena } from './arena.ts';
import { damageVariants } from './damage.ts';
import { kills, meetAll, PER_SYSTEM } from './kills.ts';
import { outageVariants, raceVariants } from './outages.ts';
import { isWanted } from './variant.ts';
import { buildInterposer, WatchedHost } from './watched-host.ts';

/** Together with the starts and ends of jobs a quarter of an hour. */
const KILLS_MS = Number(process.env.FAULT_KILLS_SECONDS ?? 480) * 1000;
const SCRIPT_MS = Number(process.env.FAULT_SCRIPT_SECONDS ?? 300) * 1000;

/** Machines go from libvirt to libvirt where nothing hinders them; and then all from the store, where damage is met. */
const HANDED_OVER = '[checkpoint]\npark = 20\n';
const FROM_STORE = '[checkpoint]\npark = 0\n';

/** Real machines of real jobs of both schedulers, on the lab: brought up if it is not, and then taken down again. */
export const machinesPart: FaultPart = {
  name: 'machines',
  run: async (tally) => {
    const say = (line: string) => console.error(`fault: ${line}`);
    await buildInterposer();
    // With the lab's own 20 s many a restore would fall into the gap of nfs-ganesha, where a process may see EIO before its agent has stopped it (docs/decisions/0060): no matter of saves.
    process.env.CADDIS_LAB_NFS_LEASE ??= '90';
    const was = await current();
    const lab = was ?? (await up({ log: say }));
    const [one, two] = lab.nodes.map((node) => new WatchedHost(lab, node));
    if (!one || !two) throw new Error('the lab has no two nodes');
    try {
      const begin = (how: string) => Promise.all([one, two].map((host) => host.begin(how)));
      await begin(HANDED_OVER);
      const arena = new Arena(lab, [one, two], tally, say);
      await arena.fill(PER_SYSTEM);
      const underHandOver = await kills(arena, KILLS_MS / 2);
      await begin(FROM_STORE);
      const script = [...damageVariants(lab), ...raceVariants(), ...outageVariants(lab)].filter(isWanted);
      const untried =
        underHandOver +
        (await kills(arena, KILLS_MS / 2)) +
        (await meetAll(arena, script, { until: Date.now() + SCRIPT_MS }));
      for (let i = 0; i < untried; i++) tally.count('points not tried for want of time');
      await arena.empty();
      await tally.variant('nothing left behind', 'after all', async () => {
        await untilNoTrouble(lab);
        await untilNothingLeft(lab, 120_000);
      });
    } finally {
      await Promise.allSettled([one.end(), two.end()]);
      if (!was) await down(say);
    }
  },
};
