import { startOn, stopOn } from '../test/lab/caddisd.ts';
import { current } from '../test/lab/lab.ts';

const lab = await current();
for (const n of lab!.nodes) {
  await stopOn(n);
  await startOn(lab!, n);
}
