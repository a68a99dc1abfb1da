import type { Lab } from '../../lab/host.ts';
import { current, up } from '../../lab/lab.ts';

/** The lab that `npm test` has brought up, or one that this run brings up; it is left running for the next file. */
export async function theLab(): Promise<Lab> {
  return (await current()) ?? (await up({ log: (line) => console.log(`lab: ${line}`) }));
}
