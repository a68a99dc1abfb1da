import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';

import { copyImage } from '../../checkpoint/copy.ts';
import { mapExtents, packedBytes } from '../../checkpoint/extents.ts';
import type { Generation } from '../../checkpoint/generation.ts';
import { packScratch } from '../../checkpoint/scratch.ts';
import type { Domain } from '../../libvirt/index.ts';
import { CaddisError, messageOf } from '../../model/errors.ts';
import { formatBytes } from '../../model/units.ts';
import type { Hypervisor } from '../../vm/hypervisor.ts';
import { qemuProcess, residentBytes } from '../../vm/qemu-process.ts';
import type { Guest } from '../guest.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { stopwatch } from '../start-machine.ts';
import type { Checkpoints } from './checkpoints.ts';
import { describeCheckpoint } from './manifest-of.ts';
import { type SavedSessions, savedStanding } from './moved-sessions.ts';
import { showSaving } from './progress.ts';

const PAUSE_TIMEOUT_MS = 10_000;
const STAGE_TIMEOUT_MS = 10 * 60_000;
const COPY_TIMEOUT_MS = 30 * 60_000;
/** What staging on this node's own file systems moves at least; with it the pause is judged beforehand. */
const STAGE_BYTES_PER_SECOND = 300e6;

export type SnapshotReason = 'periodic' | 'admin';

/**
 * Writes a checkpoint of a job that goes on running. Its processes stand still inside the guest, with nothing unwritten, while memory and scratch disk are staged on this node,
 * both of the same instant; they are copied into the store afterwards. Throws CaddisError when the job cannot be saved now, or would stand still for longer than the site allows.
 */
export async function snapshot(node: Node, job: Job, reason: SnapshotReason): Promise<Generation> {
  const { checkpoints } = node.context;
  if (!checkpoints) throw new CaddisError('there is no store (checkpoint.dir in caddis.toml)');
  return job.oneCheckpoint(async () => {
    const staged = stagedFiles(node, checkpoints, job);
    try {
      const pauseMs: Record<string, number> = {};
      const standing = await job.exclusive(() => stage(node, checkpoints, job, staged, pauseMs));
      const totalMs = Object.values(pauseMs).reduce((sum, ms) => sum + ms, 0);
      job.log.info(`checkpoint staged; the job stood still for ${totalMs} ms`, pauseMs);
      const generation = await copyToStore(checkpoints, job, staged, standing, reason);
      await checkpoints.store
        .prune(job.key, checkpoints.settings.generations)
        .catch((error: unknown) => job.log.warn(`older checkpoints stay: ${messageOf(error)}`));
      return generation;
    } finally {
      for (const path of Object.values(staged)) await rm(path, { force: true });
    }
  });
}

interface Staged {
  readonly memory: string;
  readonly scratch: string;
}

interface Standing {
  readonly sessions: SavedSessions;
  readonly domainXml: string;
  /** Its size may change while it is copied. */
  readonly as: Pick<Job, 'facts' | 'sizes'>;
}

/** The scratch disk is copied beside itself: where the file system can, without copying a byte. */
function stagedFiles(node: Node, { settings }: Checkpoints, job: Job): Staged {
  return {
    memory: join(settings.staging_dir, `${job.machine}.memory`),
    scratch: join(node.config.scratch.dir, `.${job.machine}.snapshot`),
  };
}

/** `pauseMs` takes the parts of the time for which the job stands still. */
async function stage(
  node: Node,
  checkpoints: Checkpoints,
  job: Job,
  staged: Staged,
  pauseMs: Record<string, number>,
): Promise<Standing> {
  const { domain, guest } = job.resources;
  const { hypervisor } = node.context;
  if (!domain || !guest || !isAwake(job))
    throw new CaddisError(`the job is ${job.state.phase}: nothing to save`);
  await demandShortPause(checkpoints, job);
  const domainXml = await hypervisor.restorableXml(domain);
  const as = structuredClone({ facts: job.facts, sizes: job.sizes });
  const lap = stopwatch(pauseMs);
  await guest.pause('settle', { timeoutMs: PAUSE_TIMEOUT_MS });
  lap('settle');
  try {
    // What a relayed command has said must have reached the guest; what steps have said may be under way, as when a machine is frozen.
    const relayed = guest.relays > 0 ? await standing(job, guest) : undefined;
    lap('relays');
    await hypervisor.suspend(domain);
    lap('suspend');
    try {
      const [sessions] = await Promise.all([
        relayed ?? standing(job, guest),
        stageFiles(hypervisor, domain, job, staged),
      ]);
      lap('stage');
      return { sessions, domainXml, as };
    } finally {
      // A suspension that came meanwhile holds.
      if (isAwake(job)) await hypervisor.resume(domain);
      lap('resume');
    }
  } finally {
    await goOn(guest, job);
    lap('go_on');
  }
}

async function standing(job: Job, guest: Guest): Promise<SavedSessions> {
  const stand = await guest.stand();
  if (!stand) throw new CaddisError('its output does not come to rest: somebody does not read it');
  return savedStanding(job, stand);
}

async function stageFiles(hypervisor: Hypervisor, domain: Domain, job: Job, staged: Staged): Promise<void> {
  const { scratch } = job.resources;
  const timeoutMs = STAGE_TIMEOUT_MS;
  // Both end before the machine goes on, even when one fails.
  const outcomes = await Promise.allSettled([
    hypervisor.saveMemory(domain, staged.memory, { timeoutMs, signal: AbortSignal.timeout(timeoutMs) }),
    scratch === undefined
      ? undefined
      : execa('cp', ['--reflink=auto', '--sparse=always', '--', scratch, staged.scratch], {
          timeout: timeoutMs,
          stdin: 'ignore',
        }),
  ]);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
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

/** Judged by what has to be written before the job may go on. */
async function demandShortPause({ settings }: Checkpoints, job: Job): Promise<void> {
  const { scratch } = job.resources;
  const qemu = await qemuProcess(job.machine);
  const bytes =
    (qemu ? await residentBytes(qemu.pid) : 0) +
    (scratch === undefined ? 0 : packedBytes(await mapExtents(scratch)));
  const seconds = bytes / STAGE_BYTES_PER_SECOND;
  if (seconds > settings.max_pause)
    throw new CaddisError(
      `${formatBytes(bytes)} would hold it up for about ${seconds.toFixed(0)} s, more than checkpoint.max_pause (${settings.max_pause} s)`,
    );
}

/** A guest that does not hear us now is told when its link is back: see Guest. */
async function goOn(guest: Guest, job: Job): Promise<void> {
  await guest.pause('go-on', { timeoutMs: PAUSE_TIMEOUT_MS }).catch((error: unknown) => {
    if (isAwake(job)) job.log.warn(`the job could not be told to go on: ${messageOf(error)}`);
  });
}

function isAwake({ state }: Job): boolean {
  return state.phase === 'ready' || state.phase === 'running';
}
