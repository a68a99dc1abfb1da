import { copyImage } from '../../checkpoint/copy.ts';
import { mapExtents, packedBytes } from '../../checkpoint/extents.ts';
import type { Generation } from '../../checkpoint/generation.ts';
import { packScratch } from '../../checkpoint/scratch.ts';
import { CaddisError, messageOf } from '../../model/errors.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import type { Checkpoints } from './checkpoints.ts';
import { describeCheckpoint } from './manifest-of.ts';
import { showSaving } from './progress.ts';
import { type Standing, stage } from './stage.ts';
import { placeFor, removeStaged, type Staged } from './staged.ts';

const COPY_TIMEOUT_MS = 30 * 60_000;

export type SnapshotReason = 'periodic' | 'admin';

/**
 * Writes a checkpoint of a job that goes on running. Memory and scratch disk are staged on this node, both of an instant at which its processes stand still inside the guest, with nothing
 * unwritten; they are copied into the store afterwards. Throws CaddisError when the job cannot be saved now, or would stand still for longer than the site allows.
 */
export async function snapshot(node: Node, job: Job, reason: SnapshotReason): Promise<Generation> {
  const { checkpoints } = node.context;
  if (!checkpoints) throw new CaddisError('there is no store (checkpoint.dir in caddis.toml)');
  return job.oneCheckpoint(async () => {
    const staged = await placeFor(node.context, job.machine);
    try {
      const pauseMs: Record<string, number> = {};
      const standing = await job.exclusive(() => stage(node, job, staged, pauseMs));
      const totalMs = Object.values(pauseMs).reduce((sum, ms) => sum + ms, 0);
      job.log.info(`checkpoint staged; the job stood still for ${totalMs} ms`, pauseMs);
      const generation = await copyToStore(checkpoints, job, staged, standing, reason);
      await checkpoints.store
        .prune(job.key, checkpoints.settings.generations)
        .catch((error: unknown) => job.log.warn(`older checkpoints stay: ${messageOf(error)}`));
      return generation;
    } finally {
      await removeStaged(staged);
    }
  });
}

async function copyToStore(
  checkpoints: Checkpoints,
  job: Job,
  staged: Staged,
  { sessions, domainXml, as }: Standing,
  reason: SnapshotReason,
): Promise<Generation> {
  const { store, custody } = checkpoints;
  const extents = job.resources.scratch === undefined ? [] : await mapExtents(staged.scratch);
  const { bytes } = await store.io.stat(staged.memory);
  const expectedBytes = bytes + packedBytes(extents);
  const owner = { ...custody.self, machine: job.machine };
  const draft = await store.begin(job.key, { owner, expectedBytes });
  try {
    const signal = AbortSignal.timeout(COPY_TIMEOUT_MS);
    const progress = showSaving(job, expectedBytes);
    const memory = await copyImage(store.io, staged.memory, draft.memoryPath, {
      signal,
      progress: progress('memory'),
    });
    const disk =
      job.resources.scratch === undefined
        ? undefined
        : await packScratch(store.io, staged.scratch, draft.scratchPath, extents, {
            signal,
            progress: progress('scratch'),
          });
    const manifest = describeCheckpoint(checkpoints, job, {
      ...{ reason, domainXml, memory, disk, sessions, as },
      settled: true,
    });
    return await draft.publish(manifest, { confirm: () => custody.confirm(job) });
  } catch (error) {
    await draft.abandon().catch(() => undefined);
    throw error;
  } finally {
    job.progress = undefined;
  }
}
