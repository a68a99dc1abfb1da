import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { parseProcessStat } from '../../src/pressure/proc.ts';
import { hostCpuMs } from '../lab/cgroups.ts';

const EVERY_MS = 10;
const DEADLINE_MS = 240_000;
/** An owner that sleeps does not grow by so much. */
const MARK_BYTES = 16 << 20;
/** vCPU threads that have not used more than a tick or two for so long stand still: this one dirties memory without a pause. */
const STILL_MS = 400;
const STILL_CPU_MS = 20;

/** What the host's /proc says of a give-back. Milliseconds from the owner's first page beyond what it held while it slept. */
export interface Watched {
  /** The borrower's vCPUs stand still; before the first page where the owner wanted its CPUs first. */
  readonly frozenMs: number;
  /** Its QEMU used the CPU for the last time, the save included. */
  readonly cpuGoneMs: number;
  /** Its QEMU is gone. */
  readonly memoryGoneMs: number;
  /** CPU of the host from the freeze until the memory was gone: of the borrower's QEMU, and of all else on this host but the owner's machine (caddisd, libvirtd and its writer, the scheduler). */
  readonly savingCpuMs: number;
  readonly othersCpuMs: number;
}

interface Look {
  readonly at: number;
  /** CPU of the vCPU threads, of the whole QEMU, of the host less both machines. */
  readonly vcpus: number;
  readonly qemu: number;
  readonly others: number;
}

/** Watches two QEMUs on this host of the lab until the borrower's is gone. Rejects when that takes minutes. */
export async function watchGiveBack(
  host: string,
  { owner, borrower }: { owner: number; borrower: number },
): Promise<Watched> {
  const begun = performance.now();
  const idle = residentOf(owner);
  let first: number | undefined;
  let moved = await look(host, owner, borrower);
  let frozen: Look | undefined;
  let newest = moved;
  let used = moved;
  while (newest && performance.now() - begun < DEADLINE_MS) {
    if (first === undefined && residentOf(owner) > idle + MARK_BYTES) first = newest.at;
    if (newest.qemu !== used?.qemu) used = newest;
    if (newest.vcpus > (moved?.vcpus ?? 0) + STILL_CPU_MS) {
      moved = newest;
      frozen = undefined;
    } else if (newest.at - (moved?.at ?? 0) > STILL_MS) frozen ??= moved;
    await sleep(EVERY_MS);
    const next = await look(host, owner, borrower);
    if (!next) break;
    newest = next;
  }
  const now = performance.now();
  if (now - begun >= DEADLINE_MS) throw new Error(`the borrower was not gone after ${DEADLINE_MS / 1000} s`);
  if (first === undefined || !newest || !used) throw new Error('the borrower went before its owner grew');
  const stood = frozen ?? newest;
  return {
    frozenMs: Math.round(stood.at - first),
    cpuGoneMs: Math.round(used.at - first),
    memoryGoneMs: Math.round(now - first),
    savingCpuMs: newest.qemu - stood.qemu,
    othersCpuMs: Math.round(newest.others - stood.others),
  };
}

async function look(host: string, owner: number, borrower: number): Promise<Look | undefined> {
  const qemu = cpuOf(`/proc/${borrower}/stat`);
  if (qemu === undefined) return undefined;
  const others = (await hostCpuMs(host)) - qemu - (cpuOf(`/proc/${owner}/stat`) ?? 0);
  return { at: performance.now(), vcpus: vcpuTime(borrower), qemu, others };
}

/** CPU time of a machine's vCPU threads; QEMU names them. */
function vcpuTime(pid: number): number {
  let sum = 0;
  for (const task of list(`/proc/${pid}/task`))
    if (read(`/proc/${pid}/task/${task}/comm`).startsWith('CPU '))
      sum += cpuOf(`/proc/${pid}/task/${task}/stat`) ?? 0;
  return sum;
}

function cpuOf(path: string): number | undefined {
  return parseProcessStat(read(path))?.cpuMs;
}

function residentOf(pid: number): number {
  return parseProcessStat(read(`/proc/${pid}/stat`))?.residentBytes ?? 0;
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
