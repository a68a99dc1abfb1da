import type { FaultPart } from '../fault.ts';
import { claimRaces } from './claim-races.ts';
import { crashes } from './crashes.ts';
import { damage } from './damage.ts';
import { outages } from './outages.ts';

/** The store alone, on a file system in memory. */
export const storePart: FaultPart = {
  name: 'store',
  run: async (tally) => {
    await crashes(tally);
    await claimRaces(tally);
    await damage(tally);
    await outages(tally);
  },
};
