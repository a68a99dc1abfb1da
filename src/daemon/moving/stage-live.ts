import { stat } from 'node:fs/promises';

import { PreCopy } from '../../jobs/pre-copy.ts';
import { LiveImage, MissedInstant } from '../../vm/live-image.ts';
import { qemuProcess, residentBytes } from '../../vm/qemu-process.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { stopwatch } from '../start-machine.ts';
import { demandAwake, PAUSE_TIMEOUT_MS, STAGE_TIMEOUT_MS, standing } from './at-rest.ts';
import type { SavedSessions } from './moved-sessions.ts';
import { demandShortPause } from './short-pause.ts';
import type { Running } from './stage.ts';
import { copyScratch, type Staged, scratchCopyMs } from './staging.ts';

/** What is to be left of the memory when the job is stopped. */
const LEFT_MS = 6;
/** While an image is written libvirt changes nothing of its machine, and whoever wants a change waits for 30 s (its own bound) before it fails. */
const MOST_MS = 20_000;
/** So often its memory is written at most. */
const MOST_TIMES = 3;
const SUSPEND_MS = 2_000;
/** What may be written while the disk is copied, of what is expected to be left; when libvirt is done first, the machine runs and the copy is of no instant. */
const SHARE_OF_REST = 0.5;
/** QEMU has not begun its first pass yet. */
const SET_UP_MS = 2;

/**
 * Stages memory and scratch disk of a job that runs on until most of the memory is written. Then its processes stop, with nothing unwritten, the machine is suspended, the disk is copied, the rest of the
 * memory is written, and libvirt lets the machine go on; so both are of the same instant. The job's processes stand still when this resolves. Throws MissedInstant when the image was complete too soon, and
 * CaddisError when the job would stand still for longer than the site allows. Undefined, with nothing done: this libvirt's images cannot be held up.
 */
export async function stageLive(
  node: Node,
  { job, domain, guest }: Running,
  staged: Staged,
  { pauseMs, attempt }: { readonly pauseMs: Record<string, number>; readonly attempt: number },
): Promise<SavedSessions | undefined> {
  const { hypervisor } = node.context;
  const { scratch } = job.resources;
  // What is unwritten on the disk by now need not be written while the job stands still.
  await guest.pause('flush', { timeoutMs: STAGE_TIMEOUT_MS });
  const scratchMs = scratch === undefined ? 0 : await scratchCopyMs(scratch, staged.scratch);
  // A suspension from here on knows of it, and gives it up (stopMachine).
  demandAwake(job);
  const beginning = LiveImage.begin(hypervisor, domain, staged.memory, {
    timeoutMs: STAGE_TIMEOUT_MS,
    signal: AbortSignal.timeout(STAGE_TIMEOUT_MS),
  });
  let isAbandoned = false;
  job.live = {
    // Until libvirt writes, it lets nobody at the machine.
    begun: beginning.then(ignore, ignore),
    abandon: async () => {
      isAbandoned = true;
      await (await beginning.catch(ignore))?.abandon();
    },
  };
  let image: LiveImage | undefined;
  try {
    image = await beginning;
    if (!image) return undefined;
    const { copy, leftMs } = await writeMost(job, image, attempt);
    demandShortPause(node, leftMs + scratchMs);
    if (isAbandoned) throw new MissedInstant();
    const lap = stopwatch(pauseMs);
    await image.whileRunning(guest.pause('settle', { timeoutMs: PAUSE_TIMEOUT_MS }));
    lap('settle');
    const sessions = await atThatInstant(node, { job, domain, guest, image, leftMs }, staged, lap);
    copy.ended((await stat(staged.memory)).size);
    job.dirtyBytesPerSecond = copy.dirtyBytesPerSecond;
    return sessions;
  } finally {
    // Of one that is complete nothing is left to give up.
    if (image && !image.isOver) await image.abandon();
    job.live = undefined;
  }
}

/** The job's processes stand still, and the image cannot be completed before it is let go. */
async function atThatInstant(
  { context: { hypervisor } }: Node,
  { job, domain, guest, image, leftMs }: Running & { readonly image: LiveImage; readonly leftMs: number },
  staged: Staged,
  lap: (part: string) => void,
): Promise<SavedSessions> {
  // What a relayed command has said must have reached the guest; what steps have said may be under way, as when a machine is frozen.
  const relayed = guest.relays > 0 ? await standing(job, guest) : undefined;
  lap('relays');
  const sessions = relayed ?? standing(job, guest);
  await Promise.all([sessions, writeRest()]);
  lap('rest_of_output');
  return sessions;

  async function writeRest(): Promise<void> {
    await hypervisor.suspend(domain, SUSPEND_MS);
    lap('suspend');
    const { scratch } = job.resources;
    // Part of the rest goes meanwhile.
    if (scratch !== undefined)
      await Promise.all([copyScratch(scratch, staged.scratch), image.run(leftMs * SHARE_OF_REST)]);
    if (image.isOver) throw new MissedInstant();
    lap('scratch');
    await image.finish();
    lap('rest_of_memory');
  }
}

/** Resolves, with the image held up, when the job should be stopped; `leftMs` is what the rest is expected to take. */
async function writeMost(
  job: Job,
  image: LiveImage,
  attempt: number,
): Promise<{ readonly copy: PreCopy; readonly leftMs: number }> {
  const qemu = await qemuProcess(job.machine);
  const resident = qemu ? await residentBytes(qemu.pid) : Number.POSITIVE_INFINITY;
  const bounds = { leftMs: LEFT_MS * attempt, mostMs: MOST_MS, mostBytes: MOST_TIMES * resident };
  // An image that was complete too soon is that of a job which does not write as much any more.
  const copy = new PreCopy(bounds, attempt === 1 ? job.dirtyBytesPerSecond : 0);
  let ranMs = 0;
  for (;;) {
    const progress = await image.progress();
    if (!progress) throw new MissedInstant();
    if (progress.pass === 0) {
      await image.run(SET_UP_MS);
      continue;
    }
    const step = copy.next({ ...progress, atMs: performance.now(), ranMs });
    if (step.do === 'stop') {
      if (step.why !== undefined) job.log.info(`a longer pause than it could be: ${step.why}`);
      return { copy, leftMs: step.leftMs };
    }
    ranMs = await image.run(step.ms);
  }
}

function ignore(): undefined {
  return undefined;
}
