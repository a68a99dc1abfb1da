import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import type { LabHost } from '../lab/host.ts';
import { qemuAccount } from '../lab/layout.ts';
import { on } from '../lab/process.ts';
import type { Figures } from './bench.ts';
import type { LiveJob } from './live-job.ts';
import { rounded } from './statistics.ts';

const AIM_DOWNTIME_MS = 150;
const BOUND_S = 60;
/** The job reads the rate once a second, through an NFS cache of up to 3 s. */
const RATE_SEEN_MS = 5000;

export interface Move {
  readonly domain: string;
  readonly from: LabHost;
  readonly to: LabHost;
}

/** Live migration of a machine, idle and while its job dirties memory; it is back on its first host afterwards. */
export async function liveMigrations(job: LiveJob, move: Move, dirtyMbPerS: number): Promise<Figures> {
  const back = { domain: move.domain, from: move.to, to: move.from };
  const rate = join(job.directory, 'rate');
  const idle = await migrateByLibvirt(move);
  await migrateByLibvirt(back);
  await writeFile(rate, `${dirtyMbPerS}`);
  await setTimeout(RATE_SEEN_MS);
  const dirty = await migrateByLibvirt(move);
  // A job that was held up (its network, its lease) wrote nothing: then the figures are those of an idle one.
  const seen = Number(dirty.memory_sent_mib) > 1.05 * Number(idle.memory_sent_mib);
  await writeFile(rate, '0');
  await migrateByLibvirt(back);
  return {
    by: 'virsh migrate --live --p2p',
    idle,
    [`dirtying_${dirtyMbPerS}_mb_per_s`]: { ...dirty, dirtying_seen: seen, met: seen && dirty.met },
  };
}

/** One migration by libvirt itself, from daemon to daemon; after a minute the machine is suspended, so that it ends. */
async function migrateByLibvirt({ domain, from, to }: Move): Promise<Figures & { met: boolean }> {
  const virsh = ['virsh', '-c', 'qemu:///system'];
  // What caddisd would have made there: a place for the agent's sockets.
  const places = `/run/caddis/machines/${domain}/qemu`;
  await on(to, ['install', '-d', '-m', '711', `/run/caddis/machines/${domain}`]);
  await on(to, ['install', '-d', '-m', '700', '-o', qemuAccount.name, places]);
  const began = performance.now();
  const uris = [`qemu+tcp://${to.address}/system`, `tcp://${to.address}`];
  // The scratch disk is one file that both hosts of the lab see.
  const options = ['--live', '--p2p', '--unsafe', '--timeout', `${BOUND_S}`, '--timeout-suspend'];
  await on(from, [...virsh, 'migrate', ...options, domain, ...uris], { timeoutMs: 4 * BOUND_S * 1000 });
  const totalMs = performance.now() - began;
  const info = await on(to, [...virsh, 'domjobinfo', '--completed', domain]);
  const downtime = Number(/^Total downtime:\s+(\d+)\s+ms/m.exec(info)?.[1] ?? Number.NaN);
  const sent = /^Memory processed:\s+([\d.]+)\s+(\S+)/m.exec(info);
  return {
    total_ms: Math.round(totalMs),
    downtime_ms: Number.isNaN(downtime) ? null : downtime,
    memory_sent_mib: sent?.[2] === 'GiB' ? rounded(Number(sent[1]) * 1024) : Number(sent?.[1] ?? Number.NaN),
    iterations: Number(/^Iteration:\s+(\d+)/m.exec(info)?.[1] ?? Number.NaN),
    aim_downtime_ms: AIM_DOWNTIME_MS,
    met: downtime <= AIM_DOWNTIME_MS,
  };
}
