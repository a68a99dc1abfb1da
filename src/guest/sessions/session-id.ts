import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';

/**
 * The session id of a shim's step. It is worked out from the shim's process (pid and start time) and its machine, so that an OPEN which is sent again because
 * caddisd died before it answered names the session that the first one started, instead of starting the step twice.
 */
export function stepSessionId(machine: string, pid: number): bigint {
  const started = startTicks(pid);
  const seed =
    started === undefined
      ? randomBytes(16)
      : createHash('sha256').update(`${bootId()} ${machine} ${pid} ${started}`).digest();
  // Bit 63 is the guest's; 0 means "none yet".
  return (seed.readBigUInt64LE(0) & ((1n << 63n) - 1n)) | 1n;
}

/** Field 22 of /proc/PID/stat; undefined when there is no such process. */
function startTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
