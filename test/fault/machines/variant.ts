import type { CountingJob } from './counting-job.ts';
import type { Rule } from './rules.ts';
import type { WatchedHost } from './watched-host.ts';

/** Something that goes wrong at a point of a job's save or restore. */
export interface Variant {
  readonly kind: string;
  /** What `besides` does, in words. */
  readonly what?: string;
  readonly side: 'save' | 'restore';
  readonly point: string;
  readonly nth: number;
  readonly act: Rule['act'];
  readonly delayMs: number;
  /** caddisd or libvirtd comes back after so long; default a second, as systemd has it (RestartSec of caddisd.service). */
  readonly backAfterMs?: number;
  /** The job must go on from where it was: a fresh start, whatever the reason, loses a good state. */
  readonly keeps: boolean;
  /** What was saved must not be restored: a job that went on has gone on from something damaged. */
  readonly loses?: boolean;
  /** What else is done when the point is reached; a rule that holds is let go when it is done. What it resolves with is waited for at the end of the move. */
  readonly besides?: (
    host: WatchedHost,
    job: CountingJob,
  ) => Promise<{ readonly over: Promise<void> } | undefined>;
}

/** A variant in words, beside its kind. */
export function wordsOf({ act, what, point, nth, delayMs }: Variant): string {
  return `${what ?? act}${delayMs > 0 ? ` ${delayMs} ms` : ''} after "${point}"${nth > 1 ? ` (${nth})` : ''}`;
}

/** FAULT_ONLY: a regular expression by which a short run chooses its variants, by kind and words. */
export function isWanted(variant: Variant): boolean {
  const only = process.env.FAULT_ONLY;
  return only === undefined || new RegExp(only).test(`${variant.kind}: ${wordsOf(variant)}`);
}
