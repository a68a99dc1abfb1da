import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { copyWhileWritten } from '../../checkpoint/copy-while-written.ts';
import type { Draft } from '../../checkpoint/draft.ts';
import { isClaimLost, isStoreFull, isStoreUnavailable } from '../../checkpoint/errors.ts';
import { mapExtents, packedBytes } from '../../checkpoint/extents.ts';
import { HashFollower } from '../../checkpoint/follow.ts';
import type { Generation } from '../../checkpoint/generation.ts';
import type { HashedFile } from '../../checkpoint/hash.ts';
import type { StoreIo } from '../../checkpoint/io.ts';
import { packScratch } from '../../checkpoint/scratch.ts';
import type { JobEvent, SaveReason } from '../../jobs/transitions.ts';
import type { Domain } from '../../libvirt/index.ts';
import { CaddisError, messageOf } from '../../model/errors.ts';
import { formatBytes } from '../../model/units.ts';
import { type Hypervisor, isSavedBefore } from '../../vm/hypervisor.ts';
import { qemuProcess, residentBytes } from '../../vm/qemu-process.ts';
import { isStream } from '../../vm/save-image.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { stopwatch } from '../start-machine.ts';
import type { Checkpoints } from './checkpoints.ts';
import { finishedSave } from './finished-save.ts';
import { readIntent, writeIntent } from './intents.ts';
import { describeCheckpoint } from './manifest-of.ts';
import { mergeSessions } from './merge-sessions.ts';
import { askShims, type SavedSessions } from './moved-sessions.ts';
import { showSaving } from './progress.ts';
import { runBriefly, standStill } from './stand-still.ts';

interface SaveRun {
  readonly signal: AbortSignal;
  readonly progress: (bytes: number) => void;
}

/** Bound on one save: a store that takes longer is as good as none. */
const SAVE_TIMEOUT_MS = 30 * 60_000;
/** A store that is away or full for longer costs the checkpoint. */
const STORE_BACK_MS = 5 * 60_000;
const TRY_AGAIN_MS = 5_000;

/**
 * Writes a job's suspended machine into the store: memory as libvirt saves it, the scratch disk's data, and a manifest with all that is needed to go on elsewhere. The shims are let
 * go first, so that the scheduler need not wait for the save. The machine stays, standing still: ending it is a step of its own.
 */
export async function saveMachine(node: Node, job: Job, reason: SaveReason): Promise<JobEvent> {
  const begun = performance.now();
  try {
    job.leftSinceMs = job.frozenSinceMs;
    const { checkpoints } = node.context;
    if (!checkpoints) throw new CaddisError('there is no store: set checkpoint.dir in caddis.toml');
    const { stored } = job;
    // The freeze before may have met a libvirtd that was just dying: a machine that runs on is never saved.
    if (!stored) await standStill(node, domainOf(job));
    const heldBytes = await held(job);
    const sessions = await onceForAll(node.config.state_dir, job);
    const { number, manifest } = await patiently(checkpoints, job, async () =>
      stored
        ? finishStored(checkpoints, job, stored, sessions, reason)
        : ((job.isAdopted ? await finishedSave(checkpoints, job) : undefined) ??
          writeCheckpoint(node, checkpoints, job, sessions, reason)),
    );
    job.savedAs = number;
    if (!stored) node.saves.saw(heldBytes, performance.now() - begun);
    job.log.info(
      `saved as ${number}: ${formatBytes(manifest.memory.bytes)} of memory, ${formatBytes(manifest.scratch?.packedBytes ?? 0)} of scratch`,
      { ms: Math.round(performance.now() - begun) },
    );
    await checkpoints.store
      .prune(job.key, checkpoints.settings.generations)
      .catch((error: unknown) => job.log.warn(`older checkpoints stay: ${messageOf(error)}`));
    return { type: 'saved' };
  } catch (error) {
    job.log.error(`the machine could not be saved: ${messageOf(error)}`);
    // Shims that were not let go yet would keep the job on this node for good.
    await endShims(job).catch(() => undefined);
    return { type: 'save-failed', reason: messageOf(error) };
  } finally {
    job.progress = undefined;
  }
}

/**
 * Tries again while the store is away or full: the machine stands still and loses nothing by it. Once more as well after whatever else went wrong, since a store that comes and goes
 * is not seen to be away. Room comes back as other jobs end; another holder does not go.
 */
async function patiently<T>({ store }: Checkpoints, job: Job, save: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + STORE_BACK_MS;
  for (let attempt = 1; ; attempt++)
    try {
      return await save();
    } catch (error) {
      if (isClaimLost(error) || performance.now() > deadline) throw error;
      const away =
        isStoreUnavailable(error) ||
        isStoreFull(error) ||
        (await store.generations(job.key).then(
          () => false,
          (why: unknown) => isStoreUnavailable(why),
        ));
      if (!away && attempt > 1) throw error;
      job.log.warn(`${messageOf(error)}; the machine stands still, and its save is tried again`);
      await sleep(TRY_AGAIN_MS);
    }
}

/** Lets the shims go, or takes what an earlier caddisd has written down before it did. */
async function onceForAll(stateDir: string, job: Job): Promise<SavedSessions> {
  const before = await readIntent(stateDir, job.machine);
  if (before) {
    void endShims(job).catch((error: unknown) => job.log.warn(messageOf(error)));
    return before.saved;
  }
  if (job.isAdopted && job.shims.size === 0)
    throw new CaddisError(
      'the clients of its steps did not come back after caddisd was started again: how much of their output was delivered is not known',
    );
  const sessions = await askShims(job);
  await writeIntent(stateDir, job.machine, { saved: sessions, shims: pidsOf(job) });
  job.resources.guest?.letGo();
  return sessions;
}

/** Those whose stand is known, or of no use any more. */
async function endShims(job: Job): Promise<void> {
  await askShims(job).finally(() => job.resources.guest?.letGo());
}

function pidsOf({ resources: { guest } }: Job): number[] {
  return guest?.sessions().flatMap(({ peerPid }) => peerPid ?? []) ?? [];
}

/**
 * A machine that is in the store already, and did not run since: its images serve again, under a manifest that says how its shims have ended.
 */
async function finishStored(
  { store, custody }: Checkpoints,
  job: Job,
  stored: Generation,
  sessions: SavedSessions,
  reason: SaveReason,
): Promise<Generation> {
  const owner = { ...custody.self, machine: job.machine };
  const draft = await store.begin(job.key, { owner, expectedBytes: 0 });
  try {
    await store.io.link(stored.memoryPath, draft.memoryPath);
    if (stored.manifest.scratch) await store.io.link(stored.scratchPath, draft.scratchPath);
    const manifest = {
      ...stored.manifest,
      ...mergeSessions(stored.manifest, sessions),
      ...{ reason, takenAt: new Date().toISOString(), epoch: custody.epochOf(job) },
    };
    const generation = await draft.publish(manifest, { confirm: () => custody.confirm(job) });
    await store
      .removeGeneration(job.key, stored.number)
      .catch((error: unknown) => job.log.warn(`checkpoint ${stored.number} stays: ${messageOf(error)}`));
    return generation;
  } catch (error) {
    await draft.abandon().catch(() => undefined);
    throw error;
  }
}

/**
 * Memory and scratch disk of a machine that stands still, as a new checkpoint. Rejects with the reason of `wanted` when that is aborted. One that leaves, and whose memory was written before, of
 * which nothing came, is written anew, disk and all, as it is when it has run for a moment. With clients (`suspend`) how far they are would have to be asked again: that is the caller's.
 */
export async function writeCheckpoint(
  node: Node,
  checkpoints: Checkpoints,
  job: Job,
  sessions: SavedSessions,
  reason: SaveReason | 'suspend',
  wanted?: AbortSignal,
): Promise<Generation> {
  const write = () => writeOnce(node, checkpoints, job, sessions, reason, wanted);
  try {
    return await write();
  } catch (error) {
    if (!isSavedBefore(error) || reason === 'suspend') throw error;
    // Nobody is there who would take a word of it: it says it again.
    job.resources.guest?.deafen();
    await runBriefly(node, domainOf(job));
    return await write();
  }
}

async function writeOnce(
  node: Node,
  checkpoints: Checkpoints,
  job: Job,
  sessions: SavedSessions,
  reason: SaveReason | 'suspend',
  wanted: AbortSignal | undefined,
): Promise<Generation> {
  const { scratch } = job.resources;
  const domain = domainOf(job);
  const parts: Record<string, number> = {};
  const lap = stopwatch(parts);
  const { hypervisor } = node.context;
  const extents = scratch === undefined ? [] : await mapExtents(scratch);
  const expectedBytes = packedBytes(extents) + (await held(job));
  const { store, custody } = checkpoints;
  const owner = { ...custody.self, machine: job.machine };
  const draft = await store.begin(job.key, { owner, expectedBytes });
  try {
    const domainXml = await hypervisor.restorableXml(domain);
    const progress = showSaving(job, expectedBytes);
    lap('prepare');
    const signal = AbortSignal.any([AbortSignal.timeout(SAVE_TIMEOUT_MS), ...(wanted ? [wanted] : [])]);
    const run = { signal, progress: progress('memory') };
    const [memory, disk] = await Promise.all([
      writeMemory(node, checkpoints, job, draft, run),
      scratch === undefined
        ? undefined
        : packScratch(store.io, scratch, draft.scratchPath, extents, {
            signal,
            progress: progress('scratch'),
          }),
    ]);
    lap('images');
    const manifest = describeCheckpoint(checkpoints, job, {
      ...{ reason, domainXml, memory, disk, sessions },
      settled: false,
    });
    const generation = await draft.publish(manifest, { confirm: () => custody.confirm(job) });
    lap('publish');
    job.log.info('checkpoint written', parts);
    return generation;
  } catch (error) {
    await draft.abandon().catch(() => undefined);
    throw error;
  }
}

/**
 * libvirt wants a file to be root's own, so that it writes into the store itself only where root is not squashed: then the image is hashed while it is written. Else it is
 * staged on a file system of this node, and copied and hashed while it is staged.
 */
async function writeMemory(
  { context }: Node,
  { store, settings }: Checkpoints,
  job: Job,
  draft: Draft,
  run: SaveRun,
): Promise<HashedFile> {
  const { uid } = await stat(store.dir);
  if (uid === 0) return writeDirectly(context.hypervisor, store.io, domainOf(job), draft.memoryPath, run);
  const staged = join(settings.staging_dir, `${job.machine}.memory`);
  try {
    // What an earlier try has left is not followed.
    await rm(staged, { force: true });
    const write = () =>
      context.hypervisor.saveMemory(domainOf(job), staged, {
        timeoutMs: SAVE_TIMEOUT_MS,
        signal: run.signal,
      });
    const say = (text: string) => job.log.warn(text);
    return await copyWhileWritten(
      store.io,
      { from: staged, to: draft.memoryPath, write, isStream: () => isStream(staged), say },
      run,
    );
  } finally {
    await rm(staged, { force: true });
  }
}

async function writeDirectly(
  hypervisor: Hypervisor,
  io: StoreIo,
  domain: Domain,
  path: string,
  { signal, progress }: SaveRun,
): Promise<HashedFile> {
  const abort = new AbortController();
  const follower = new HashFollower(io, path, {
    signal: AbortSignal.any([signal, abort.signal]),
    progress,
  });
  try {
    await hypervisor.saveMemory(domain, path, { timeoutMs: SAVE_TIMEOUT_MS, signal });
    return await follower.finish();
  } catch (error) {
    abort.abort(error);
    throw error;
  }
}

/** Bytes of the host that a machine holds: by them the time of a save is predicted too, though not all of them are written. 0: not known. */
async function held({ machine }: Job): Promise<number> {
  const qemu = await qemuProcess(machine);
  return qemu ? residentBytes(qemu.pid) : 0;
}

function domainOf(job: Job): Domain {
  const { domain } = job.resources;
  if (!domain) throw new CaddisError('the job has no machine any more');
  return domain;
}
