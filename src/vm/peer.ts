import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import { type Domain, isNoDomain, Libvirt, type LongCallOptions, migrateFlags } from '../libvirt/index.ts';
import { CaddisError } from '../model/errors.ts';

const OPEN_TIMEOUT_MS = 5_000;
const ABORT_TIMEOUT_MS = 5_000;
/** A connection between the two nodes that has died is noticed by QEMU after minutes alone. */
const STALL_MS = 15_000;
const LOOK_EVERY_MS = 1_000;

type Progress = (doneBytes: number, totalBytes: number) => void;

export interface PeerCertificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** URI of a node's libvirtd, of the site's pattern (libvirt.peer_uri); undefined where machines are not handed over. */
export function peerUri(pattern: string, host: string): string | undefined {
  return pattern === 'none' ? undefined : pattern.replace('{host}', host);
}

/**
 * Has the libvirtd at `from` send a machine that stands still to the one at `to`, memory and the disk `vdb` with it; it arrives standing still. A disk of the right size must be there.
 * Rejects when either end says no; the machine is then where it was, or nowhere.
 */
export async function pullMachine(
  from: string,
  to: string,
  machine: { readonly name: string; readonly xml: string; readonly hasScratch: boolean },
  certificates: PeerCertificates,
  { signal, progress, ...options }: LongCallOptions & { readonly progress?: Progress },
): Promise<void> {
  const source = await openPeer(from, certificates);
  const stalled = new AbortController();
  const timer = new AbortController();
  try {
    const domain = await source.lookupByName(machine.name);
    const { state } = await source.state(domain);
    if (state !== 'paused') throw new CaddisError(`${machine.name} is ${state} at ${from}: expected paused`);
    void watch(source, domain, { stalled, progress, signal: timer.signal });
    await source.migrate(
      domain,
      to,
      { destination_xml: machine.xml, ...(machine.hasScratch ? { migrate_disks: ['vdb'] } : {}) },
      flagsFor(to, machine.hasScratch),
      { ...options, signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal },
    );
  } catch (error) {
    await stopSending(from, machine.name, certificates);
    throw error;
  } finally {
    timer.abort();
    await source.close();
  }
}

/** Aborts `stalled` when nothing has been sent for a while. Never rejects. */
async function watch(
  source: Libvirt,
  domain: Domain,
  {
    stalled,
    progress,
    signal,
  }: { stalled: AbortController; progress: Progress | undefined; signal: AbortSignal },
): Promise<void> {
  let last = '';
  let since = performance.now();
  while (!signal.aborted) {
    await sleep(LOOK_EVERY_MS, undefined, { signal, ref: false }).catch(() => undefined);
    const stats = await source.jobStats(domain, 0, { timeoutMs: STALL_MS, signal }).catch(() => undefined);
    if (signal.aborted) return;
    const done = Number(stats?.params.data_processed ?? 0);
    const total = Number(stats?.params.data_total ?? 0);
    if (total > 0) progress?.(done, total);
    const now = `${stats?.params.data_processed} ${stats?.params.data_remaining} ${stats?.params.disk_processed} ${stats?.params.memory_processed}`;
    if (stats && now !== last) since = performance.now();
    last = now;
    if (performance.now() - since > STALL_MS)
      stalled.abort(new CaddisError(`nothing was sent for ${STALL_MS / 1000} s`));
  }
}

/** The data go their own way, from QEMU to QEMU: they are encrypted where the daemons' own connection is. */
function flagsFor(uri: string, hasScratch: boolean): number {
  return (
    migrateFlags.live |
    migrateFlags.peer2peer |
    migrateFlags.paused |
    (hasScratch ? migrateFlags.nonSharedDisk : 0) |
    (uri.startsWith('qemu+tls:') ? migrateFlags.tls : 0)
  );
}

/** A call that we gave up may still be at work there. */
async function stopSending(from: string, name: string, certificates: PeerCertificates): Promise<void> {
  const source = await openPeer(from, certificates).catch(() => undefined);
  if (!source) return;
  try {
    const domain: Domain = await source.lookupByName(name, { timeoutMs: ABORT_TIMEOUT_MS });
    await source.abortJob(domain, { timeoutMs: ABORT_TIMEOUT_MS });
  } catch (error) {
    if (isNoDomain(error)) return;
    // Nothing was under way.
  } finally {
    await source.close();
  }
}

/** Whether a libvirtd answers there. Rejects when not, or when it does not take our certificate. */
export async function askPeer(uri: string, certificates: PeerCertificates): Promise<void> {
  const peer = await openPeer(uri, certificates);
  try {
    await peer.version({ timeoutMs: OPEN_TIMEOUT_MS });
  } finally {
    await peer.close();
  }
}

async function openPeer(uri: string, certificates: PeerCertificates) {
  const { protocol, hostname: host, port } = new URL(uri);
  const at = { host, ...(port === '' ? {} : { port: Number(port) }) };
  if (protocol === 'qemu+tcp:')
    return Libvirt.open('qemu:///system', {
      endpoint: { kind: 'tcp', ...at },
      openTimeoutMs: OPEN_TIMEOUT_MS,
    });
  if (protocol !== 'qemu+tls:')
    throw new CaddisError(`${uri}: expected qemu+tls or qemu+tcp (libvirt.peer_uri)`);
  const [ca, cert, key] = await Promise.all(
    [certificates.ca, certificates.cert, certificates.key].map((path) => readFile(path)),
  );
  return Libvirt.open('qemu:///system', {
    endpoint: { kind: 'tls', ...at, ca: ca as Buffer, cert: cert as Buffer, key: key as Buffer },
    openTimeoutMs: OPEN_TIMEOUT_MS,
  });
}
