import { constants } from 'node:os';

const { SIGTERM, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGSTOP, SIGKILL } = constants.signals;

/** What Slurm itself sends to end, suspend and resume a job goes to all of its processes. */
const FOR_ALL: ReadonlySet<number> = new Set([SIGTERM, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGSTOP, SIGKILL]);

/**
 * Other signals come to a batch step by `--signal=B:` and `scancel --batch`, which mean the batch shell alone: what it started would die of a USR1 that only the
 * script traps. `scancel --full -s USR1` means the shell's children too; the shim sees one signal either way, so that this rarer one is taken for the others.
 */
export function isForBatchShell(step: string, signal: number): boolean {
  return step === 'batch' && !FOR_ALL.has(signal);
}
