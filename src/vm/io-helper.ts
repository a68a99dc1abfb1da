import { readdir, readFile } from 'node:fs/promises';

/**
 * libvirt (9.0, virfilewrapper) has a process of its own, `libvirt_iohelper PATH ...`, write what QEMU saves into a file, and lets the machine go on only when that process is done. Held up, it
 * holds both up: QEMU at the next piece that it wants to write, and libvirt before it starts the vCPUs. It is a child of libvirtd, not of ours.
 */
export interface IoHelper {
  /** QEMU gets rid of no more than what fits into the pipe between the two. */
  holdUp(): void;
  /** No error when it is gone. */
  letGo(): void;
}

interface Found {
  readonly pid: number;
  readonly path: string;
}

/** The process that writes `path`; undefined when there is none (yet, or any more, or with a libvirt that does without). */
export async function findIoHelper(path: string): Promise<IoHelper | undefined> {
  const [found] = await ioHelpers((argument) => argument === path);
  if (!found) return undefined;
  const { pid } = found;
  return { holdUp: () => signal(pid, 'SIGSTOP'), letGo: () => signal(pid, 'SIGCONT') };
}

/** Lets those go that a caddisd has held up which died; the files that they write. */
export async function letIoHelpersGo(isOurs: (path: string) => boolean): Promise<string[]> {
  const found = await ioHelpers(isOurs);
  for (const { pid } of found) signal(pid, 'SIGCONT');
  return found.map(({ path }) => path);
}

async function ioHelpers(writes: (path: string) => boolean): Promise<Found[]> {
  const found = await Promise.all(
    (await readdir('/proc')).map(async (entry) => {
      if (!/^\d+$/.test(entry)) return [];
      const [program = '', ...rest] = (
        await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')
      ).split('\0');
      const path = program.endsWith('/libvirt_iohelper') ? rest.find(writes) : undefined;
      return path === undefined ? [] : [{ pid: Number(entry), path }];
    }),
  );
  return found.flat();
}

function signal(pid: number, name: 'SIGSTOP' | 'SIGCONT'): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
