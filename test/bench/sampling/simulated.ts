import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';
import { execa } from 'execa';

import { rounded } from '../statistics.ts';
import { startAgents } from './agents.ts';

const WATCHER = fileURLToPath(new URL('watcher.ts', import.meta.url));

export interface Sampled {
  readonly cpu_ms_per_s: number;
  readonly looks: number;
  readonly look_ms: number;
  readonly reports: number;
  readonly seen: number;
}

/**
 * caddisd's own parts (guest links, sampler, node report, Grid Engine's file) in one process, with so many agents and processes to look at that are not machines: their work is not
 * what is measured, and /proc costs the same for all. The watcher has a /run/libvirt of its own, where their pid files are.
 */
export async function simulated(machines: number, seconds: number): Promise<Sampled> {
  const dir = await mkdtemp(join(tmpdir(), 'caddis-sampling-'));
  const stopAgents = await startAgents(dir, machines);
  const processes: ChildProcess[] = [];
  try {
    for (let i = 0; i < machines; i++) {
      const name = `caddis-bench${String(i).padStart(4, '0')}`;
      // argv[0] is what QEMU's -name is: by it caddisd knows its own.
      const child = spawn('sleep', ['3600'], { argv0: name, stdio: 'ignore' });
      processes.push(child);
      await writeFile(join(dir, `${name}.pid`), `${child.pid}\n`);
    }
    const inOwnMounts = `mkdir -p /run/libvirt && mount -t tmpfs none /run/libvirt && mkdir /run/libvirt/qemu && cp ${dir}/*.pid /run/libvirt/qemu/ && exec "$@"`;
    // Bundled as caddisd is: a loader that compiles has a thread of its own, whose work would count.
    const bundle = join(dir, 'watcher.cjs');
    await build({
      entryPoints: [WATCHER],
      outfile: bundle,
      bundle: true,
      platform: 'node',
      target: 'node20',
      minify: false,
    });
    const watcher = [process.execPath, bundle];
    const { stdout } = await execa(
      'unshare',
      [
        ...['-m', '--propagation', 'private', 'sh', '-c', inOwnMounts, 'sh', ...watcher],
        ...['--machines', String(machines), '--seconds', String(seconds), '--agents', dir],
        // In memory, as /run is: on a disk the file for the load sensor would cost as much as twenty machines.
        ...['--run', '/run/libvirt'],
      ],
      { stdin: 'ignore', timeout: (seconds + 60) * 1000 },
    );
    const said = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Sampled;
    if (said.seen < machines || said.reports < 0.8 * machines * seconds)
      throw new Error(
        `of ${machines} machines ${said.seen} were seen, of ${machines * seconds} reports ${said.reports} came: not what was to be measured`,
      );
    return { ...said, cpu_ms_per_s: rounded(said.cpu_ms_per_s), look_ms: rounded(said.look_ms) };
  } finally {
    stopAgents();
    for (const child of processes) child.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  }
}
