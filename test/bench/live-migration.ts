import type { LabHost } from '../lab/host.ts';
import { qemuAccount } from '../lab/layout.ts';
import { on, until } from '../lab/process.ts';
import type { Figures } from './bench.ts';
import { askDirtyRate, type LiveJob } from './live-job.ts';
import { rounded } from './statistics.ts';

const AIM_DOWNTIME_MS = 150;
const BOUND_S = 60;
/** What QEMU may estimate for the last of the memory; unset it would be 300 ms. The rest of a stop, some 30 ms on a quiet host, is its devices and libvirt's calls between the hosts. */
const LIMIT_MS = 30;
/** The job reads the rate once a second, through an NFS cache of up to 3 s, and TCP may take longer to find its peer again after a move. */
const RATE_SEEN_MS = 30_000;
/** QEMU samples pages: of what is written it sees a part. */
const SEEN_SHARE = 0.3;
const VIRSH = ['virsh', '-c', 'qemu:///system'];

export interface Move {
  readonly domain: string;
  readonly from: LabHost;
  readonly to: LabHost;
}

/** Live migration of a machine, idle and while its job dirties memory; it is back on its first host afterwards. */
export async function liveMigrations(job: LiveJob, move: Move, dirtyMbPerS: number): Promise<Figures> {
  const back = { domain: move.domain, from: move.to, to: move.from };
  await letThrough(move);
  const idle = await migrateByLibvirt(move);
  await migrateByLibvirt(back);
  await askDirtyRate(job, dirtyMbPerS);
  // A job that is held up (its network, its lease) writes nothing, and the figures would be those of an idle one.
  const seen = await until(
    `${job.key} to write ${dirtyMbPerS} MB/s`,
    async () => {
      const now = await dirtyRate(move);
      return now >= SEEN_SHARE * dirtyMbPerS && now;
    },
    { timeoutMs: RATE_SEEN_MS, everyMs: 200 },
  );
  const dirty = await migrateByLibvirt(move);
  await askDirtyRate(job, 0);
  await migrateByLibvirt(back);
  return {
    by: 'virsh migrate --live --p2p',
    qemu_downtime_limit_ms: LIMIT_MS,
    idle,
    [`dirtying_${dirtyMbPerS}_mb_per_s`]: { dirty_rate_by_qemu_mb_per_s: seen, ...dirty },
  };
}

/** The bridge's rules on the other host do not know the machine: a caddisd would have told them. */
async function letThrough({ domain, from, to }: Move): Promise<void> {
  const xml = await on(from, [...VIRSH, 'dumpxml', domain]);
  const facts = (name: string) =>
    new RegExp(`&quot;${name}&quot;:&quot;([^&]+)&quot;|"${name}":"([^"]+)"`).exec(xml);
  const [tap, mac, address] = ['tap', 'mac', 'address'].map((name) => facts(name)?.[1] ?? facts(name)?.[2]);
  const element = `add element bridge caddis machines { "${tap}" . ${mac} . ${address} }\n`;
  await on(to, ['/usr/sbin/nft', '-f', '-'], { input: element });
}

/** MB/s of memory that the machine writes, as QEMU samples it within a second. */
async function dirtyRate({ domain, from }: Move): Promise<number> {
  await on(from, [...VIRSH, 'domdirtyrate-calc', domain, '--seconds', '1']);
  let stats = '';
  await until(
    `the dirty rate of ${domain}`,
    async () => {
      stats = await on(from, [...VIRSH, 'domstats', '--dirtyrate', domain]);
      // virDomainDirtyRateStatus: measured.
      return /calc_status=2$/m.test(stats);
    },
    { timeoutMs: 10_000, everyMs: 200 },
  );
  return Number(/megabytes_per_second=(\d+)/.exec(stats)?.[1] ?? 0);
}

/** One migration by libvirt itself, from daemon to daemon; after a minute the machine is suspended, so that it ends. */
async function migrateByLibvirt({ domain, from, to }: Move): Promise<Figures & { met: boolean }> {
  // What caddisd would have made there: a place for the agent's sockets.
  const places = `/run/caddis/machines/${domain}/qemu`;
  await on(to, ['install', '-d', '-m', '711', `/run/caddis/machines/${domain}`]);
  await on(to, ['install', '-d', '-m', '700', '-o', qemuAccount.name, places]);
  await on(from, [...VIRSH, 'migrate-setmaxdowntime', domain, `${LIMIT_MS}`]);
  const began = performance.now();
  const uris = [`qemu+tcp://${to.address}/system`, `tcp://${to.address}`];
  // The scratch disk is one file that both hosts of the lab see.
  const options = ['--live', '--p2p', '--unsafe', '--timeout', `${BOUND_S}`, '--timeout-suspend'];
  await on(from, [...VIRSH, 'migrate', ...options, domain, ...uris], { timeoutMs: 4 * BOUND_S * 1000 });
  const totalMs = performance.now() - began;
  const info = await on(to, [...VIRSH, 'domjobinfo', '--completed', domain]);
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
