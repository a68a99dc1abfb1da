import { messageOf } from '../../../src/model/errors.ts';
import type { BatchSystem } from '../../integration/support/batch.ts';
import { current, down, up } from '../lab.ts';
import { lend } from './lend.ts';
import { array, hello, move, TITLE, terminal, wall } from './scenes.ts';
import { Timeline } from './timeline.ts';

/** `npm run demo`: a lab cluster, real jobs of both schedulers in machines, and what happened. Leaves the lab as it was found. */
async function main(): Promise<void> {
  const timeline = new Timeline();
  timeline.heading(
    'A cluster of two hosts on this machine: Slurm and Grid Engine, libvirt and caddisd on each',
  );
  const found = await current();
  const lab = found ?? (await up({ log: (line) => timeline.happened(line) }));
  if (found) timeline.happened('the lab is up already');
  try {
    for (const system of ['slurm', 'gridengine'] as const satisfies readonly BatchSystem[]) {
      for (const [title, scene] of [
        ['hello from inside', hello],
        ['an array of four', array],
        ['a wall of its own', wall],
        ['an interactive session', terminal],
        ['a job that moves', move],
        ['lend and give back', lend],
      ] as const) {
        timeline.heading(`${TITLE[system]}: ${title}`);
        await scene(lab, system, timeline).catch((error: unknown) => timeline.claim(false, messageOf(error)));
      }
    }
  } finally {
    if (!found) {
      timeline.heading('Taking all down');
      await down((line) => timeline.happened(line));
    }
  }
  if (timeline.failures.length > 0) {
    console.log(`\n${timeline.failures.length} claims did not hold:`);
    for (const failure of timeline.failures) console.log(`  ${failure}`);
    process.exitCode = 1;
  } else console.log('\nAll claims held.');
}

await main();
