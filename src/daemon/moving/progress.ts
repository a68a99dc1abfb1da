import type { Job } from '../job.ts';

/** Shows in `caddis status` how far a save is: images are written at the same time, and each reports for itself. Ends with `job.progress = undefined`. */
export function showSaving(
  job: Job,
  totalBytes: number,
): (image: 'memory' | 'scratch') => (bytes: number) => void {
  const done = { memory: 0, scratch: 0 };
  job.progress = { what: 'saving', totalBytes, doneBytes: 0 };
  return (image) => (bytes) => {
    done[image] = bytes;
    if (job.progress) job.progress.doneBytes = done.memory + done.scratch;
  };
}
