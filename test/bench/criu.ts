import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';

import { until } from '../lab/process.ts';
import type { Figures } from './bench.ts';
import { LIVE_DATA } from './live-job.ts';
import { rounded } from './statistics.ts';

const TIMEOUT_MS = 120_000;

/** CRIU's dump and restore of the same process without a VM, on the machine's own disk. Where it does not work, why. */
export async function criu(megabytes: number): Promise<Figures> {
  const check = await execa('criu', ['check'], { reject: false, timeout: TIMEOUT_MS, stdin: 'ignore' });
  if (check.failed)
    return {
      works: false,
      reason: check.code === 'ENOENT' ? 'not installed (apt-get install criu)' : errorsOf(check.stderr),
      package: await version(),
    };
  const directory = await mkdtemp(join(tmpdir(), 'caddis-criu-'));
  const child = spawn('python3', [LIVE_DATA, `${megabytes}`], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'ignore'],
    detached: true,
  });
  const pid = child.pid as number;
  try {
    await until('the process to hold its data', async () => (await residentBytes(pid)) > megabytes * 1e6, {
      timeoutMs: TIMEOUT_MS,
    });
    const images = join(directory, 'images');
    await execa('mkdir', [images]);
    const dumpSeconds = await timed(['dump', '-t', `${pid}`, '-D', images, '--shell-job']);
    const sizes = await Promise.all((await readdir(images)).map((name) => stat(join(images, name))));
    const restoreSeconds = await timed(['restore', '-D', images, '--shell-job', '-d']);
    return {
      works: true,
      dump_seconds: rounded(dumpSeconds),
      restore_seconds: rounded(restoreSeconds),
      image_bytes: sizes.reduce((sum, { size }) => sum + size, 0),
    };
  } catch (error) {
    return { works: false, reason: errorsOf(error instanceof Error ? error.message : String(error)) };
  } finally {
    try {
      // A restored process has the pid that it had.
      process.kill(pid, 'SIGKILL');
    } catch {}
    await rm(directory, { recursive: true, force: true });
  }
}

async function timed(command: readonly string[]): Promise<number> {
  const began = performance.now();
  await execa('criu', command, { timeout: TIMEOUT_MS, stdin: 'ignore' });
  return (performance.now() - began) / 1000;
}

function errorsOf(text: string): string {
  const errors = text.split('\n').filter((line) => line.startsWith('Error'));
  return (errors.length > 0 ? errors.join('; ') : text).slice(0, 1000);
}

async function version(): Promise<string> {
  const { stdout } = await execa('criu', ['--version'], { reject: false, stdin: 'ignore' });
  return stdout?.split('\n')[0] ?? '';
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}
