import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { startTime } from './daemons.ts';
import { labPaths } from './layout.ts';

const file = join(labPaths.root, 'lock');

/** Runs `work` as the only `up` or `down` on this machine. Throws at once, naming the holder, if another one is at work. */
export async function withLock<T>(work: () => Promise<T>): Promise<T> {
  await mkdir(labPaths.root, { recursive: true });
  await take();
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

async function take(): Promise<void> {
  for (const attempt of [1, 2]) {
    try {
      const handle = await open(file, 'wx');
      await handle.writeFile(`${process.pid} ${await startTime(process.pid)}\n`);
      await handle.close();
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const [pid = 0, started] = (await readFile(file, 'utf8').catch(() => '')).trim().split(' ').map(Number);
    if (pid > 0 && (await startTime(pid)) === started)
      throw new Error(`process ${pid} is bringing the lab up or down; wait for it, or end it and run again`);
    // Its holder was killed.
    if (attempt === 1) await rm(file, { force: true });
  }
  throw new Error(`cannot take ${file}: another process was faster; run again`);
}
