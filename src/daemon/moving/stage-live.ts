import { PreCopy } from '../../jobs/pre-copy.ts';
import { CaddisError } from '../../model/errors.ts';
import { formatBytes } from '../../model/units.ts';
import type { Hypervisor } from '../../vm/hypervisor.ts';
import { LiveImage, MissedInstant } from '../../vm/live-image.ts';
import { qemuProcess, residentBytes } from '../../vm/qemu-process.ts';
import type { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { stopwatch } from '../start-machine.ts';
import { demandAwake, isAwake, PAUSE_TIMEOUT_MS, STAGE_TIMEOUT_MS, standing } from './at-rest.ts';
import type { SavedSessions } from './moved-sessions.ts';
import { prepareScratchCopy, type ScratchCopy } from './scratch-copy.ts';
import { demandShortPause } from './short-pause.ts';
import type { Running } from './stage.ts';
import type { Staged } from './staged.ts';

/** What is to be left of the memory when the job is stopped. */
const LEFT_MS = 6;
/** So many times more after an image that was complete too soon. */
const FARTHER = 4;
/** While an image is written libvirt changes nothing of its machine, and whoever wants a change waits for 30 s (its own bound) before it fails. */
const MOST_MS = 20_000;
/** So often its memory is written at most. */
const MOST_TIMES = 3;
const SUSPEND_MS = 2_000;
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
  await guest
    .pause('flush', { timeoutMs: STAGE_TIMEOUT_MS, signal: job.phaseSignal })
    .catch((error: unknown) => {
      demandAwake(job);
      throw error;
    });
  const disk = scratch === undefined ? undefined : await prepareScratchCopy(scratch, staged.scratch);
  let image: LiveImage | undefined;
  try {
    image = await begin(node, { job, domain, guest }, staged);
    if (!image) return undefined;
    const { copy, leftMs } = await writeMost(job, image, staged, attempt);
    demandShortPause(node, leftMs + (disk?.expectedMs ?? 0) + staged.syncMs);
    const lap = stopwatch(pauseMs);
    await image.whileRunning(guest.pause('settle', { timeoutMs: PAUSE_TIMEOUT_MS }));
    lap('settle');
    const sessions = await atThatInstant(hypervisor, { job, domain, guest, image, disk }, lap);
    void learn(hypervisor, { job, domain, guest }, copy);
    return sessions;
  } catch (error) {
    await image?.abandon();
    // A libvirtd that died may have left it as it was.
    if (isAwake(job)) await hypervisor.resume(domain).catch(() => undefined);
    throw error;
  } finally {
    job.live = undefined;
    disk?.cancel();
  }
}

/** From here on a suspension knows of the image, and gives it up (stopMachine). */
function begin(
  { context: { hypervisor } }: Node,
  { job, domain }: Running,
  staged: Staged,
): Promise<LiveImage | undefined> {
  demandAwake(job);
  const beginning = LiveImage.begin(hypervisor, domain, staged.memory, {
    timeoutMs: STAGE_TIMEOUT_MS,
    signal: AbortSignal.timeout(STAGE_TIMEOUT_MS),
  });
  job.live = {
    // Until libvirt writes, it lets nobody at the machine.
    begun: beginning.then(ignore, ignore),
    abandon: async () => (await beginning.catch(ignore))?.abandon(),
  };
  return beginning;
}

interface AtRest extends Running {
  readonly image: LiveImage;
  readonly disk: ScratchCopy | undefined;
}

/** The job's processes stand still, and the image cannot be completed before it is let go. */
async function atThatInstant(
  hypervisor: Hypervisor,
  { job, domain, guest, image, disk }: AtRest,
  lap: (part: string) => void,
): Promise<SavedSessions> {
  // What a relayed command has said must have reached the guest; what steps have said may be under way, as when a machine is frozen.
  const relayed = guest.relays > 0 ? await standing(job, guest) : undefined;
  lap('relays');
  const [sessions] = await Promise.all([relayed ?? standing(job, guest), writeRest()]);
  lap('rest_of_output');
  return sessions;

  async function writeRest(): Promise<void> {
    // Nobody would let a machine go on that is suspended after the end of its image.
    if (image.isOver) throw new MissedInstant();
    await hypervisor.suspend(domain, SUSPEND_MS);
    lap('suspend');
    await disk?.make();
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
  { roomBytes }: Staged,
  attempt: number,
): Promise<{ readonly copy: PreCopy; readonly leftMs: number }> {
  const qemu = await qemuProcess(job.machine);
  const resident = qemu ? await residentBytes(qemu.pid) : Number.POSITIVE_INFINITY;
  const bounds = {
    leftMs: LEFT_MS * FARTHER ** (attempt - 1),
    mostMs: MOST_MS,
    // By then it may have written over half of it.
    mostBytes: Math.min(MOST_TIMES * resident, roomBytes - resident / 2),
  };
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
      const bytes = progress.writtenBytes + Math.min(step.leftBytes, resident);
      if (bytes > roomBytes)
        throw new CaddisError(`no room to stage it: with what it writes over it takes ${formatBytes(bytes)}`);
      return { copy, leftMs: step.leftMs };
    }
    ranMs = await image.run(step.ms);
  }
}

/** For the checkpoint after this one; the job need not wait for it. */
async function learn(hypervisor: Hypervisor, { job, domain }: Running, copy: PreCopy): Promise<void> {
  const all = await hypervisor.savedAtLast(domain).catch(ignore);
  if (all) copy.ended(all.doneBytes);
  job.dirtyBytesPerSecond = copy.dirtyBytesPerSecond;
}

function ignore(): undefined {
  return undefined;
}
