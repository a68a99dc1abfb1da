import { randomBytes } from 'node:crypto';
import { chown, mkdir, realpath, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';

import type { Config } from '../config/schema.ts';
import { CaddisError } from '../model/errors.ts';
import { MiB } from '../model/units.ts';
import { guestMounts } from '../vm/host-mounts.ts';
import { SCRIPT_MAX_BYTES } from './carry-in.ts';
import type { Guest } from './guest.ts';
import type { Job } from './job.ts';

/** A head(1) in the guest; under TCG on a loaded host a start takes a second or two. */
const READ_TIMEOUT_MS = 60_000;
const PATH = '/usr/local/bin:/usr/bin:/bin';

/** True when host and guest see the same file under this path: it lies on a file system that the guest has mounted from where the host has. */
export async function isShared(storage: Config['storage'], cwd: string, path: string): Promise<boolean> {
  const targets = (await guestMounts(storage)).map(({ target }) => target);
  const below = (real: string) => targets.some((target) => real === target || real.startsWith(target + sep));
  const absolute = resolve(cwd, path);
  if (!below(absolute)) return false;
  const real = await realpath(absolute).catch((error: NodeJS.ErrnoException) =>
    // Root may not look everywhere (root_squash); a file that is still to be made lies in its directory.
    error.code === 'ENOENT' ? realpath(dirname(absolute)).catch(() => '') : absolute,
  );
  return below(real);
}

/** A file of the guest, brought to the host for one command. */
export interface CarriedOut {
  /** Readable by the job's user alone; its last part is that of the original, since schedulers name the job after it. */
  readonly path: string;
  remove(): Promise<void>;
}

/**
 * Copies a file out of the guest, as the job's user reads it there. Undefined when that user cannot read it. Throws CaddisError when it is above SCRIPT_MAX_BYTES or the guest
 * does not answer.
 */
export async function carryOut(
  job: Job,
  guest: Guest,
  cwd: string,
  path: string,
): Promise<CarriedOut | undefined> {
  const content = await readInGuest(job, guest, cwd, path);
  if (!content) return undefined;
  const { uid, gid } = job.identity;
  const directory = join(job.places.dir, `carried-${randomBytes(6).toString('hex')}`);
  const target = join(directory, basename(path));
  await mkdir(directory, { mode: 0o700 });
  await writeFile(target, content, { mode: 0o500, flag: 'wx' });
  await chown(target, uid, gid);
  await chown(directory, uid, gid);
  return { path: target, remove: () => rm(directory, { recursive: true, force: true }) };
}

async function readInGuest(job: Job, guest: Guest, cwd: string, path: string): Promise<Buffer | undefined> {
  const { uid, gid, groups } = job.identity;
  const captured = await guest
    .capture(
      {
        // One byte more than may be: shows that there is more, and a device without end is not read on.
        ...{
          argv: ['head', '-c', String(SCRIPT_MAX_BYTES + 1), '--', path],
          program: undefined,
          pathSearch: true,
        },
        ...{
          env: { PATH, LC_ALL: 'C' },
          cwd,
          uid,
          gid,
          groups,
          umask: 0o077,
          rlimits: [],
          cpus: [],
          nice: 0,
        },
        ...{ terminal: undefined, termios: undefined, mergeStderr: false, stdinNull: true, files: [] },
        memoryLimit: undefined,
      },
      { maxBytes: SCRIPT_MAX_BYTES + MiB, timeoutMs: READ_TIMEOUT_MS },
    )
    .catch((error: unknown) => {
      throw new CaddisError(`cannot read ${path} in the job's machine`, { cause: error });
    });
  if (captured.stdout.length > SCRIPT_MAX_BYTES)
    throw new CaddisError(
      `${path} has more than ${SCRIPT_MAX_BYTES} bytes: a script that is submitted from inside a job may have no more`,
    );
  return captured.status.kind === 'exited' && captured.status.code === 0 ? captured.stdout : undefined;
}
