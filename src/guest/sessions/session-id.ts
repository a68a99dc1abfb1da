import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';

/**
 * The session id of a shim's step. It is worked out from the shim's process (pid and start time) and its machine, so that an OPEN which is sent again because
 * caddisd died before it answered names the session that the first one started, instead of starting the step twice.
 */
export function stepSessionId(machine: string, pid: number, whose: 'job' | 'root' = 'job'): bigint {
  const started = startTicks(pid);
  const seed =
    started === undefined
      ? randomBytes(16)
      : createHash('sha256').update(`${bootId()} ${machine} ${pid} ${started}`).digest();
  // Bit 63 is the guest's; 0 means "none yet".
  const id = (seed.readBigUInt64LE(0) & (OF_ROOT - 1n)) | 1n;
  return whose === 'root' ? id | OF_ROOT : id;
}

/** Bit 62: a shell that root has opened in the machine. In the id itself, since a caddisd that was restarted knows nothing else of it when its client comes back. */
const OF_ROOT = 1n << 62n;

/** Whether the session is one to which the job's own user may not connect. */
export function isRootsSession(id: bigint): boolean {
  return (id & OF_ROOT) !== 0n;
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
