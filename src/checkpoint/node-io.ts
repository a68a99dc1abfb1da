import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';

import { messageOf } from '../model/errors.ts';
import { CheckpointRefused, errnoOf, StoreFull, StoreUnavailable } from './errors.ts';
import { Gate } from './gate.ts';
import type { StoreFile, StoreIo } from './io.ts';

interface NodeIoOptions {
  /** For everything but syncs, in milliseconds. Reads and writes come in blocks of a few MiB. */
  readonly deadlineMs?: number;
  /** For fsync of a file: on a slow disk the whole image may have to go out. Milliseconds. */
  readonly syncDeadlineMs?: number;
  /** Operations at a time, of the four threads that Node has for all file I/O. */
  readonly width?: number;
}

const UNAVAILABLE = new Set([
  'EIO',
  'ESTALE',
  'ENOTCONN',
  'ECONNABORTED',
  'ECONNRESET',
  'ETIMEDOUT',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EREMOTEIO',
  'ENODEV',
  'EROFS',
  'EACCES',
  'EPERM',
]);
const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** The real file system. One per store: its deadlines and its share of the thread pool are the store's own, see Gate. */
export function nodeIo({
  deadlineMs = 30_000,
  syncDeadlineMs = 600_000,
  width = 2,
}: NodeIoOptions = {}): StoreIo {
  const gate = new Gate(width);
  const run = <T>(path: string, what: string, operation: () => Promise<T>, limitMs = deadlineMs) =>
    gate.run(path, what, limitMs, () => operation().catch((error: unknown) => raise(path, what, error)));

  const openHandle = async (path: string, flags: number): Promise<fs.FileHandle> => {
    let overdue = false;
    try {
      return await run(path, 'open', async () => {
        const handle = await fs.open(path, flags, 0o600);
        if (overdue) await handle.close();
        return handle;
      });
    } catch (error) {
      overdue = true;
      throw error;
    }
  };
  const withHandle = async <T>(path: string, use: (handle: fs.FileHandle) => Promise<T>): Promise<T> => {
    const handle = await openHandle(path, constants.O_RDONLY);
    try {
      return await use(handle);
    } finally {
      // What was read is good whether or not the file could be closed, and a failure has been told already.
      void run(path, 'close', () => handle.close()).catch(() => undefined);
    }
  };
  const sync = (path: string) =>
    withHandle(path, (handle) => run(path, 'fsync', () => handle.sync(), syncDeadlineMs));

  return {
    mkdir: (path) => run(path, 'mkdir', () => fs.mkdir(path, { mode: 0o700 }).then(() => undefined)),
    create: (path, content) =>
      run(path, 'write', () => fs.writeFile(path, content, { flag: 'wx', mode: 0o600 })),
    open: async (path, how) => {
      return nodeFile(path, await openHandle(path, FLAGS[how]), run, syncDeadlineMs);
    },
    syncFile: sync,
    syncDirectory: sync,
    rename: (from, to) => run(to, 'rename', () => fs.rename(from, to)),
    link: (from, to) => run(to, 'link', () => fs.link(from, to)),
    unlink: (path) => run(path, 'unlink', () => fs.unlink(path)),
    rmdir: (path) => run(path, 'rmdir', () => fs.rmdir(path)),
    readdir: (path) => run(path, 'readdir', () => fs.readdir(path)),
    read: (path, maxBytes) =>
      withHandle(path, (handle) => run(path, 'read', () => readWhole(path, handle, maxBytes))),
    stat: (path) =>
      run(path, 'stat', async () => {
        const found = await fs.stat(path);
        return { bytes: found.size, directory: found.isDirectory(), modifiedMs: found.mtimeMs };
      }),
    space: (path) =>
      run(path, 'statfs', async () => {
        const { bavail, blocks, bsize } = await fs.statfs(path);
        return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
      }),
  };
}

const FLAGS = {
  read: constants.O_RDONLY | constants.O_NOFOLLOW,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
  write: constants.O_RDWR | constants.O_NOFOLLOW,
} as const;

type Run = <T>(path: string, what: string, operation: () => Promise<T>, limitMs?: number) => Promise<T>;

function nodeFile(path: string, handle: fs.FileHandle, run: Run, syncDeadlineMs: number): StoreFile {
  return {
    read: (into, position) => run(path, 'read', () => readFully(handle, into, position)),
    write: (data, position) =>
      run(path, 'write', async () => {
        for (let done = 0; done < data.length; )
          done += (await handle.write(data, done, data.length - done, position + done)).bytesWritten;
      }),
    truncate: (bytes) => run(path, 'truncate', () => handle.truncate(bytes)),
    chown: (uid, gid) => run(path, 'chown', () => handle.chown(uid, gid)),
    sync: () => run(path, 'fsync', () => handle.sync(), syncDeadlineMs),
    close: () => run(path, 'close', () => handle.close()),
  };
}

async function readFully(handle: fs.FileHandle, into: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

async function readWhole(path: string, handle: fs.FileHandle, maxBytes: number): Promise<Uint8Array> {
  const { size } = await handle.stat();
  if (size > maxBytes)
    throw new CheckpointRefused(`${path}: expected at most ${maxBytes} bytes, it has ${size}`);
  const content = new Uint8Array(size);
  return content.subarray(0, await readFully(handle, content, 0));
}

function raise(path: string, what: string, error: unknown): never {
  const code = errnoOf(error) ?? '';
  if (UNAVAILABLE.has(code)) throw new StoreUnavailable(path, `${what}: ${messageOf(error)}`, error);
  if (FULL.has(code))
    throw new StoreFull(
      `${path}: ${what}: ${messageOf(error)}; remove checkpoints ("caddis checkpoints list") or make room`,
      { cause: error },
    );
  throw error;
}
