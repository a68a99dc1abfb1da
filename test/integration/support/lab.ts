import type { Lab } from '../../lab/host.ts';
import { current, up } from '../../lab/lab.ts';
import { asUser } from './batch.ts';

let isCleared = false;

/**
 * The lab that `npm test` has brought up, or one that this run brings up; it is left running for the next file. Jobs that the file before has left are cancelled: a test that
 * fails in the middle would take the nodes from all that come after it.
 */
export async function theLab(): Promise<Lab> {
  const lab = (await current()) ?? (await up({ log: (line) => console.log(`lab: ${line}`) }));
  if (!isCleared) await clear(lab);
  isCleared = true;
  return lab;
}

async function clear(lab: Lab): Promise<void> {
  const as = (...command: string[]) => asUser(lab, command, { user: 'root' });
  const left = [await as('squeue', '--noheader'), await as('qstat', '-u', '*')]
    .map(({ stdout }) => stdout.trim())
    .filter((text) => text !== '');
  if (left.length === 0) return;
  console.log(`jobs of an earlier file, to be cancelled:\n${left.join('\n')}`);
  for (const user of lab.users.map(({ name }) => name)) await as('scancel', '--user', user);
  await as('qdel', '-u', '*');
}
