import { readFile } from 'node:fs/promises';

import { type Domain, isNoDomain, Libvirt, type LongCallOptions, migrateFlags } from '../libvirt/index.ts';
import { CaddisError } from '../model/errors.ts';

const OPEN_TIMEOUT_MS = 5_000;
const ABORT_TIMEOUT_MS = 5_000;

export interface PeerCertificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** URI of a node's libvirtd, of the site's pattern. */
export function peerUri(pattern: string, host: string): string {
  return pattern.replace('{host}', host);
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
  options: LongCallOptions,
): Promise<void> {
  const source = await openPeer(from, certificates);
  try {
    const domain = await source.lookupByName(machine.name);
    const { state } = await source.state(domain);
    if (state !== 'paused') throw new CaddisError(`${machine.name} is ${state} at ${from}: expected paused`);
    await source.migrate(
      domain,
      to,
      { destination_xml: machine.xml, ...(machine.hasScratch ? { migrate_disks: ['vdb'] } : {}) },
      flagsFor(to, machine.hasScratch),
      options,
    );
  } catch (error) {
    await stopSending(from, machine.name, certificates);
    throw error;
  } finally {
    await source.close();
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
