import { execa } from 'execa';

import type { Manifest } from '../../checkpoint/manifest-schema.ts';
import { messageOf } from '../../model/errors.ts';
import { formatKey } from '../../model/job.ts';
import type { Job } from '../job.ts';
import type { Checkpoints } from './checkpoints.ts';

/** Renaming a file takes no time; a home directory that hangs must not hold the prolog. */
const KEEP_TIMEOUT_MS = 20_000;

/** Moved aside already by a restore that did not come to its end: that is the content. */
const KEEP = '[ ! -e "$1" ] && [ -e "$2" ] || mv -n -- "$1" "$2"';

/** An output file of a job that goes on: where its content is now, and how much of it is the stream's. */
export interface KeptFile {
  /** As the job's earlier run had it open. */
  readonly path: string;
  /** Where it was moved to. */
  readonly kept: string;
  /** Bytes of it that stood there when the machine was frozen: what follows are the scheduler's own words about the end of that run. */
  readonly length: bigint;
}

/**
 * Slurm truncates a batch job's output files when it starts it again. What stands in them is moved aside under another name in the same directory, by the job's user (root
 * may not look into a home directory); the step's client puts it back before it goes on (docs/protocol.md, RESUME). A file that cannot be moved is left where it is, and
 * the log says so: then the output begins at the checkpoint.
 */
export async function keepOutput(job: Job, sessions: Manifest['sessions']): Promise<KeptFile[]> {
  const kept: KeptFile[] = [];
  for (const file of keptBefore(job, sessions))
    try {
      await asUser(job, ['sh', '-c', KEEP, 'sh', file.path, file.kept]);
      kept.push(file);
    } catch (error) {
      job.log.warn(`${file.path} could not be kept aside: ${messageOf(error)}`);
    }
  return kept;
}

/** Where keepOutput puts things. */
export function keptBefore(job: Job, sessions: Manifest['sessions']): KeptFile[] {
  if (!job.scheduler.truncatesOutput) return [];
  const files = new Map<string, bigint>();
  for (const { streams } of sessions)
    for (const stream of [streams.stdout, streams.stderr]) {
      if (!stream?.file) continue;
      const length = BigInt(stream.file.length);
      const known = files.get(stream.file.path);
      if (known === undefined || length > known) files.set(stream.file.path, length);
    }
  return [...files].map(([path, length]) => ({ path, kept: `${path}.caddis-${formatKey(job.key)}`, length }));
}

/** Puts back what no client has taken over: the job was cancelled before it went on. */
export async function putBack(job: Job): Promise<void> {
  // Only over an empty or absent file: anything else is the new run's output.
  for (const { path, kept } of job.kept)
    await asUser(job, [
      'sh',
      '-c',
      '[ ! -e "$2" ] || [ -s "$1" ] || mv -f -- "$2" "$1"',
      'sh',
      path,
      kept,
    ]).catch((error: unknown) => job.log.warn(`${kept} could not be put back: ${messageOf(error)}`));
}

/** By name of the output file and of what was moved aside. */
const GIVE_UP = '[ ! -e "$2" ] || { [ -e "$1" ] && rm -f -- "$2"; } || mv -n -- "$2" "$1"';

/**
 * A job that starts afresh after all: what a restore that did not come to its end has moved aside is the output file again, with which the scheduler does what it does with any job that it
 * starts again. Left there, the next restore would take it for the new run's output. Never rejects.
 */
export async function giveUpKept(job: Job, { store }: Checkpoints): Promise<void> {
  try {
    const kept = new Map<string, KeptFile>();
    for (const generation of await store.generations(job.key))
      if (generation.state === 'complete')
        for (const file of keptBefore(job, generation.manifest.sessions)) kept.set(file.kept, file);
    for (const file of kept.values()) await asUser(job, ['sh', '-c', GIVE_UP, 'sh', file.path, file.kept]);
  } catch (error) {
    job.log.warn(`output of an earlier run may stay aside: ${messageOf(error)}`);
  }
}

async function asUser({ identity }: Job, command: readonly string[]): Promise<void> {
  const { uid, gid, groups } = identity;
  const as = ['--reuid', `${uid}`, '--regid', `${gid}`, '--groups', groups.join(',')];
  await execa('setpriv', [...as, '--', ...command], {
    timeout: KEEP_TIMEOUT_MS,
    stdin: 'ignore',
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    extendEnv: false,
  });
}
