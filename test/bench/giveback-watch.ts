import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { parseProcessStat } from '../../src/pressure/proc.ts';

const EVERY_MS = 10;
const DEADLINE_MS = 240_000;
/** An owner that sleeps does not grow by so much. */
const MARK_BYTES = 16 << 20;
/** vCPU threads that have not used a tick for so long stand still: this one dirties memory without a pause. */
const STILL_MS = 400;

/** Milliseconds from the owner's first page beyond what it held while it slept. */
export interface Watched {
  /** The borrower's vCPUs ran for the last time. */
  readonly frozenMs: number;
  /** Its QEMU used the CPU for the last time, the save included. */
  readonly cpuGoneMs: number;
  /** Its QEMU is gone. */
  readonly memoryGoneMs: number;
}

/** Watches two QEMUs until the borrower's is gone. Rejects when that takes minutes. */
export async function watchGiveBack(ownerPid: number, borrowerPid: number): Promise<Watched> {
  const begun = performance.now();
  const idle = residentOf(ownerPid);
  let first: number | undefined;
  let vcpus = { ticks: -1, at: begun };
  let all = { ticks: -1, at: begun };
  let frozenAt: number | undefined;
  while (performance.now() - begun < DEADLINE_MS) {
    const now = performance.now();
    if (first === undefined && residentOf(ownerPid) > idle + MARK_BYTES) first = now;
    const total = cpuOf(`/proc/${borrowerPid}/stat`);
    if (total === undefined) {
      if (first === undefined) throw new Error('the borrower went before its owner grew');
      return {
        frozenMs: Math.round((frozenAt ?? vcpus.at) - first),
        cpuGoneMs: Math.round(all.at - first),
        memoryGoneMs: Math.round(now - first),
      };
    }
    if (total !== all.ticks) all = { ticks: total, at: now };
    const running = vcpuTime(borrowerPid);
    if (running !== vcpus.ticks) {
      vcpus = { ticks: running, at: now };
      frozenAt = undefined;
    } else if (first !== undefined && now - vcpus.at > STILL_MS) frozenAt ??= vcpus.at;
    await sleep(EVERY_MS);
  }
  throw new Error(`the borrower was not gone after ${DEADLINE_MS / 1000} s`);
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
