import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import { asUser } from '../integration/support/batch.ts';
import { startOn, stopOn } from '../lab/caddisd.ts';
import type { Lab, LabHost } from '../lab/host.ts';
import { until } from '../lab/process.ts';
import { type BenchOptions, type Figures, onLab } from './bench.ts';
import { criu } from './criu.ts';
import { handOvers } from './hand-over.ts';
import { domainOf, type LiveJob, setDirtyRate, startLiveJob } from './live-job.ts';
import { liveMigrations } from './live-migration.ts';
import { pausesOf } from './periodic-pause.ts';
import { plainSave } from './plain-save.ts';
import { type Requeued, requeue } from './requeue-save.ts';

/** About 40 s and 90 s on two cores; 2,000 MB (`--sizes 50,500,2000`) takes longer. */
const DEFAULT_SIZES_MB = [50, 500];
const DIRTY_MB_PER_S = 100;
/** More than it can. */
const FLAT_OUT_MB_PER_S = 10_000;
/** While caddisd is stopped the job is not to stop by itself: its guest is given this before. */
const LONG_LEASE = '[checkpoint]\nlease = 600\n';
const LEASE_TAKEN_MS = 3000;
const TAKEN_UP_MS = 60_000;
const FROM_STORE = '[checkpoint]\npark = 0\n';

/**
 * Saving, restoring, checkpoints and migration of real sbatch jobs that hold live data, beside what plain libvirt, dd and CRIU take for the same in this run.
 */
export async function checkpoint({
  runs = 3,
  sizes = DEFAULT_SIZES_MB,
  say,
}: BenchOptions): Promise<Figures> {
  return onLab(say, async (lab) => {
    const figures: Record<string, Figures> = {};
    for (const megabytes of sizes) figures[`live_${megabytes}_mb`] = await ofSize(lab, megabytes, runs, say);
    return {
      acceleration: 'tcg',
      sizes_mb: sizes.join(),
      left_out_sizes_mb: [50, 500, 2000].filter((size) => !sizes.includes(size)).join() || null,
      data: 'one random block of 4 MiB, shifted anew for each copy: images are raw, nothing of it is compressed or merged',
      ...figures,
    };
  });
}

async function ofSize(lab: Lab, megabytes: number, runs: number, say: BenchOptions['say']): Promise<Figures> {
  const [node, other] = lab.nodes as [LabHost, LabHost];
  say(`${megabytes} MB: requeue, with a store on the node's own disk`);
  const ownDisk = await requeueOnOwnDisk(lab, node, megabytes);
  say(`${megabytes} MB: a job with its data`);
  const job = await startLiveJob(lab, node, megabytes);
  try {
    say(`${megabytes} MB: checkpoints while it runs`);
    const idle = await pausesOf(lab, node, job, runs);
    const reached = await setDirtyRate(job, DIRTY_MB_PER_S);
    const dirty = await pausesOf(lab, node, job, runs);
    const most = await setDirtyRate(job, FLAT_OUT_MB_PER_S);
    const flatOut = await pausesOf(lab, node, job, runs);
    await setDirtyRate(job, 0);
    say(`${megabytes} MB: requeue`);
    // A machine that stands where it was would be thawed.
    await startAnew(lab, node, job, FROM_STORE);
    const requeued = await requeue(lab, node, job);
    await startAnew(lab, node, job);
    say(`${megabytes} MB: hand-over`);
    const handedOver = await handOvers(lab, job, node, other);
    say(`${megabytes} MB: plain libvirt`);
    const { plain, migration, restoreMs } = await withoutCaddisd(lab, node, other, job);
    say(`${megabytes} MB: CRIU`);
    return {
      request_mib: job.requestMib,
      ...requeued.figures,
      hand_over: handedOver,
      store_on_own_disk: ownDisk.figures,
      virsh: plain,
      restore_aim: {
        from_store: requeued.restoreAim(restoreMs.store),
        from_own_disk: ownDisk.restoreAim(restoreMs.ownDisk),
      },
      periodic_pause: {
        idle,
        [`dirtying_${DIRTY_MB_PER_S}_mb_per_s`]: { reached_mb_per_s: reached, ...dirty },
        dirtying_flat_out: { reached_mb_per_s: most, ...flatOut },
      },
      live_migration: migration,
      criu: await criu(megabytes),
    };
  } finally {
    await asUser(lab, ['scancel', job.id], { user: 'root' });
  }
}

/** What Caddis itself takes, without the network between a node and its store: the lab's goes through ssh. A job of its own, as its claim is in this store too. */
async function requeueOnOwnDisk(lab: Lab, node: LabHost, megabytes: number): Promise<Requeued> {
  const store = join(lab.paths.root, 'bench-store');
  await mkdir(store, { recursive: true, mode: 0o700 });
  await stopOn(node);
  await startOn(lab, node, `${FROM_STORE}dir = "${store}"\n`);
  try {
    const job = await startLiveJob(lab, node, megabytes);
    try {
      return await requeue(lab, node, job, store);
    } finally {
      await asUser(lab, ['scancel', job.id], { user: 'root' });
      await until(`${job.key} to be gone`, async () => !(await domainOf(node, job).catch(() => undefined)), {
        timeoutMs: TAKEN_UP_MS,
      });
    }
  } finally {
    await stopOn(node);
    await startOn(lab, node);
    await rm(store, { recursive: true, force: true });
  }
}

/** It answers before it has taken up all its machines. */
async function startAnew(lab: Lab, node: LabHost, job: LiveJob, extra = ''): Promise<void> {
  await stopOn(node);
  await startOn(lab, node, extra);
  await until(`${job.key} to be taken up`, () => domainOf(node, job).catch(() => undefined), {
    timeoutMs: TAKEN_UP_MS,
  });
}

/** libvirt alone, on the job's own machine: caddisd is stopped meanwhile, and takes the machine back afterwards. */
async function withoutCaddisd(
  lab: Lab,
  node: LabHost,
  other: LabHost,
  job: LiveJob,
): Promise<{ plain: Figures; migration: Figures; restoreMs: { ownDisk: number; store: number } }> {
  const domain = await domainOf(node, job);
  await startAnew(lab, node, job, LONG_LEASE);
  await setTimeout(LEASE_TAKEN_MS);
  await stopOn(node);
  try {
    const { figures, restoreMs } = await plainSave(lab, node, domain);
    // It would end a machine that is no job's.
    await stopOn(other);
    const migration = await liveMigrations(job, { domain, from: node, to: other }, DIRTY_MB_PER_S);
    return { plain: figures, migration, restoreMs };
  } finally {
    await Promise.all([startOn(lab, node), startOn(lab, other)]);
  }
}
