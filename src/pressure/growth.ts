import { amountOf, type QueueGrowth } from '../config/growth.ts';
import { MiB } from '../model/units.ts';
import type { GrowthSeries } from './growth-series.ts';

export interface Size {
  readonly memoryBytes: number;
  readonly cpus: number;
}

/** A job's machine, as the decision on its growth needs it. */
export interface Growing {
  readonly policy: QueueGrowth;
  readonly nowMs: number;
  readonly series: GrowthSeries;
  /** What its user asked for: what limits count from. */
  readonly asked: Size;
  /** What its scheduler has reserved for it, which may be more: it never has less. */
  readonly reserved: Size;
  /** Its wall, and its CPUs. */
  readonly has: Size;
  /** The most that its machine could have. */
  readonly most: Size;
  /** What the node has for it beside what it has; below 0: others want CPUs back. */
  readonly room: Size;
  readonly changedAtMs: number;
  /** Why it cannot be put back into the queue for more; undefined: it can. */
  readonly staysBecause: string | undefined;
}

export type MemoryStep =
  | { readonly do: 'nothing' }
  | { readonly do: 'grow' | 'shrink'; readonly toBytes: number }
  /** It goes back to the queue with its state, and with a larger request. */
  | { readonly do: 'requeue'; readonly askBytes: number; readonly why: string }
  | { readonly do: 'signal' | 'leave'; readonly why: string };

/** A growth takes half a second, and some seconds on a busy host: what the job will have taken by then is added. */
const AHEAD_MS = 3_000;
/** A job that goes back to the queue shall not do so again soon. */
const REQUEUE_STEP = 0.5;
/** virtio-mem's blocks. */
const BLOCK_BYTES = 2 * MiB;
/** Beside a mark of more than this share of the wall a job would have no memory of its own. */
const MARK_MOST = 0.5;
/** Tasks come and go: what wants to run is a mean over this time. */
const RUNNABLE_MS = 5_000;
const RUNNABLE_SAMPLES = 4;

/** How much a job may hold before it is near its wall. */
export function markBytes(policy: QueueGrowth, wallBytes: number): number {
  const left = Math.min(amountOf(policy.mark, wallBytes), MARK_MOST * wallBytes);
  return Math.floor((wallBytes - left) / 4096) * 4096;
}

/** The largest wall that the site allows, and that this machine could have. */
export function limitBytes({ policy, asked, most }: Pick<Growing, 'policy' | 'asked' | 'most'>): number {
  return Math.min(Math.max(amountOf(policy.limit, asked.memoryBytes), asked.memoryBytes), most.memoryBytes);
}

/** What is to become of a job's memory. */
export function decideMemory(growing: Growing): MemoryStep {
  const { policy, series, has } = growing;
  const held = series.heldBytes;
  if (held === undefined) return { do: 'nothing' };
  if (held < markBytes(policy, has.memoryBytes)) return shrink(growing);
  const wall = has.memoryBytes;
  const limit = limitBytes(growing);
  if (limit - wall < BLOCK_BYTES)
    return noRoom(growing, 'it has as much as it may have (growth.limit)', undefined);
  const step = amountOf(policy.step, wall);
  const ahead = held + series.bytesPerMs * AHEAD_MS + 2 * (wall - markBytes(policy, wall));
  const wanted = Math.min(wholeBlocks(Math.max(wall + step, ahead)), limit);
  const ask = Math.min(wholeBlocks(Math.max(wanted, wall * (1 + REQUEUE_STEP))), limit);
  if (!policy.live) return noRoom(growing, 'it is not grown while it runs (growth.live)', ask);
  const toBytes = Math.min(wanted, Math.floor((wall + growing.room.memoryBytes) / BLOCK_BYTES) * BLOCK_BYTES);
  // A little more memory would only mean a next time.
  if (toBytes - wall >= Math.min(step / 2, limit - wall)) return { do: 'grow', toBytes };
  return noRoom(growing, 'this node has no memory left for it', ask);
}

/** `askBytes` undefined: nothing more may be asked for. */
function noRoom(
  { policy, staysBecause }: Growing,
  because: string,
  askBytes: number | undefined,
): Exclude<MemoryStep, { do: 'grow' | 'shrink' }> {
  if (policy.on_no_room === 'signal') return { do: 'signal', why: because };
  if (policy.on_no_room === 'wall' || askBytes === undefined) return { do: 'leave', why: because };
  if (staysBecause !== undefined) return { do: 'leave', why: `${because}, and ${staysBecause}` };
  return { do: 'requeue', askBytes, why: because };
}

/** What was grown and has not been needed for a while goes back, but for what the job would soon want again. */
function shrink({ policy, nowMs, series, reserved, has, changedAtMs }: Growing): MemoryStep {
  const calmMs = policy.shrink_after * 1000;
  const over = has.memoryBytes - reserved.memoryBytes;
  if (calmMs === 0 || over <= 0 || nowMs - changedAtMs < calmMs || series.coversMs(nowMs) < calmMs)
    return { do: 'nothing' };
  const peak = series.peakHeldBytes;
  const spare = amountOf(policy.step, peak) + 2 * (peak - markBytes(policy, peak));
  const toBytes = Math.max(wholeBlocks(peak + spare), reserved.memoryBytes);
  const given = has.memoryBytes - toBytes;
  return given > 0 && given >= Math.min(amountOf(policy.step, has.memoryBytes) / 2, over)
    ? { do: 'shrink', toBytes }
    : { do: 'nothing' };
}

/** The number of CPUs that the job should have; undefined: those that it has. */
export function decideCpus(growing: Growing): number | undefined {
  const { policy, nowMs, series, asked, reserved, has, most, room, changedAtMs } = growing;
  if (room.cpus < 0 && has.cpus > reserved.cpus)
    return other(has, Math.max(reserved.cpus, has.cpus - Math.ceil(-room.cpus)));
  const limit = Math.min(Math.max(Math.floor(amountOf(policy.cpus, asked.cpus)), asked.cpus), most.cpus);
  const wanted = series.runnable(RUNNABLE_MS, RUNNABLE_SAMPLES);
  if (policy.live && wanted !== undefined && wanted >= has.cpus + 0.5)
    return other(
      has,
      Math.max(has.cpus, Math.min(Math.round(wanted), limit, has.cpus + Math.floor(room.cpus))),
    );
  const calmMs = policy.shrink_after * 1000;
  if (calmMs === 0 || nowMs - changedAtMs < calmMs || series.coversMs(nowMs) < calmMs) return undefined;
  return other(has, Math.min(has.cpus, Math.max(reserved.cpus, Math.ceil(series.peakRunnable))));
}

function other(has: Size, cpus: number): number | undefined {
  return cpus === has.cpus ? undefined : cpus;
}

function wholeBlocks(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}
