import { current } from '../test/lab/lab.ts'; import { stopOn, startOn } from '../test/lab/caddisd.ts';
const lab = await current(); for (const n of lab!.nodes) { await stopOn(n); await startOn(lab!, n); }
