import { mkdir, mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, it } from 'vitest';

import { Heartbeat } from '../../../src/checkpoint/heartbeat.ts';
import { nodeIo } from '../../../src/checkpoint/node-io.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { JobTable } from '../../../src/daemon/job-table.ts';
import { createLog } from '../../../src/daemon/log.ts';
import type { Checkpoints } from '../../../src/daemon/moving/checkpoints.ts';
import { Custody } from '../../../src/daemon/moving/custody.ts';
import { tidyStore } from '../../../src/daemon/moving/tidy.ts';
import type { Node } from '../../../src/daemon/node.ts';
import type { JobKey } from '../../../src/model/job.ts';

const DAYS_AGO = new Date(Date.now() - 8 * 86_400_000);
const HEARTBEAT_MS = 40;
const keyOf = (jobId: string): JobKey => ({ scheduler: 'slurm', jobId, task: '0' });
const log = createLog(configSchema.parse({ log_level: 'error' }));

let dir: string;
let store: CheckpointStore;
let beating: NodeJS.Timeout;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'caddis-tidy-'));
  store = new CheckpointStore({ dir, io: nodeIo() });
  await store.prepare();
  const alive = new Heartbeat(nodeIo(), dir, { host: 'alive', bootId: 'b' });
  const gone = new Heartbeat(nodeIo(), dir, { host: 'gone', bootId: 'b' });
  await Promise.all([alive.beat(), gone.beat()]);
  beating = setInterval(() => void alive.beat(), HEARTBEAT_MS / 2);
});
afterEach(async () => {
  clearInterval(beating);
  await rm(dir, { recursive: true, force: true });
});

it('one node removes what crashes left and what nobody wants any more, and nothing else', async () => {
  for (const [key, host] of [
    ['1', 'alive'],
    ['2', 'gone'],
  ] as const)
    await store.begin(keyOf(key), { owner: { host, bootId: 'b', machine: 'm' }, expectedBytes: 0 });
  for (const name of ['slurm-3', 'slurm-4', 'slurm-5', 'gridengine-6.1'])
    await mkdir(join(dir, 'jobs', name, 'generations'), { recursive: true });
  await makeOld(join(dir, 'jobs'));
  await utimes(join(dir, 'jobs/slurm-5/generations'), new Date(), new Date());

  const node = nodeWhere((jobId) => (jobId === '1' ? true : jobId === '4' ? undefined : false));
  await tidyStore(node, checkpoints());
  // 1: wanted, and the node that writes it beats. 2: its draft is swept, and the sweep makes it young. 4: no answer. 5: young. 6: nobody here to ask.
  expect((await readdir(join(dir, 'jobs'))).sort()).toEqual([
    ...['gridengine-6.1', 'slurm-1', 'slurm-2', 'slurm-4', 'slurm-5'],
  ]);
  expect(await readdir(join(dir, 'jobs/slurm-1/generations'))).toHaveLength(1);
  expect(await readdir(join(dir, 'jobs/slurm-2/generations'))).toEqual([]);

  // Another node's turn comes later.
  await makeOld(join(dir, 'jobs'));
  await tidyStore(node, checkpoints());
  expect(await readdir(join(dir, 'jobs'))).toContain('slurm-2');
});

/** As another process of the node: its drafts are not those of the store that made them. */
function checkpoints(): Checkpoints {
  const custody = new Custody({
    ...{ io: nodeIo(), store: dir, leaseMs: 2_000, heartbeatMs: HEARTBEAT_MS, log },
    overtaken: () => undefined,
  });
  const settings = { retention: 7 * 86_400 } as Checkpoints['settings'];
  return { store: new CheckpointStore({ dir, io: nodeIo() }), custody, settings } as Checkpoints;
}

function nodeWhere(isWanted: (jobId: string) => boolean | undefined): Node {
  const slurm = { isWanted: async ({ jobId }: JobKey) => isWanted(jobId) };
  return { log, jobs: new JobTable(), schedulers: new Map([['slurm', slurm]]) } as unknown as Node;
}

async function makeOld(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true, recursive: true }))
    await utimes(join(entry.parentPath, entry.name), DAYS_AGO, DAYS_AGO);
}
