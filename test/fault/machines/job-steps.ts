import type { CountingJob } from './counting-job.ts';
import type { Traced } from './rules.ts';
import type { Machine } from './sight.ts';
import type { WatchedHost } from './watched-host.ts';

/** A key is found in paths only as a whole: `slurm-1` is no part of `slurm-11`. */
export function needlesOf({ key }: CountingJob, machines: readonly string[]): string[] {
  return [
    `${key}/`,
    `${key}.`,
    `${key} `,
    ...machines.flatMap((machine) => [machine, `cad-${machine.slice(-10)}`]),
  ];
}

/** What a host has done for a job since then. */
export function stepsOf(
  host: WatchedHost,
  job: CountingJob,
  machines: readonly Machine[],
  since: number,
): Traced[] {
  const needles = needlesOf(
    job,
    machines.map(({ machine }) => machine),
  );
  return host.trace(since).filter(({ text }) => needles.some((needle) => text.includes(needle)));
}

/** The last step that a host had done for a job when something was killed there; undefined when it was in the middle of nothing. */
export function lastPoint(
  host: WatchedHost,
  job: CountingJob,
  machines: readonly Machine[],
  since: number,
  at: number,
): string | undefined {
  const last = stepsOf(host, job, machines, since)
    .filter((step) => step.at <= at)
    .at(-1)?.point;
  return last === undefined || /^(fsync claims|rename link)$/.test(last) ? undefined : last;
}
