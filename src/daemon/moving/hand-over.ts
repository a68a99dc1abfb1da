import { open, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

import type { Manifest } from '../../checkpoint/manifest-schema.ts';
import { CaddisError, messageOf } from '../../model/errors.ts';
import { peerUri, pullMachine } from '../../vm/peer.ts';
import type { Job } from '../job.ts';
import type { NodeContext } from '../start-machine.ts';
import type { ParkedElsewhere } from './custody.ts';

/** Bound on a pull that goes on: that of a restore. One that stands still is given up earlier. */
const PULL_TIMEOUT_MS = 30 * 60_000;

/**
 * Gets the machine itself from the node that has parked it, with its scratch disk; it arrives standing still. False when that did not succeed: nothing of it is here then, and the
 * store has what it was when it was saved. What it has computed since (see `park`) nobody has seen, so that either may go on.
 */
export async function handOver(
  context: NodeContext,
  job: Job,
  {
    manifest: { scratch },
    machineXml,
    parked,
  }: {
    readonly manifest: Pick<Manifest, 'scratch'>;
    /** As it shall be here; to be asked when the scratch disk's place is known. */
    readonly machineXml: () => string;
    readonly parked: ParkedElsewhere;
  },
  signal: AbortSignal,
): Promise<boolean> {
  const { config, hypervisor, qemuOwner } = context;
  const { ca_file: ca, cert_file: cert, key_file: key, peer_uri } = config.libvirt;
  const path = join(config.scratch.dir, `${job.machine}.img`);
  const here = peerUri(peer_uri, hostname());
  if (parked.uri === undefined || here === undefined) return false;
  try {
    if (scratch) {
      job.resources.scratch = path;
      job.facts.scratch = path;
      await emptyDisk(path, scratch.bytes, qemuOwner);
    }
    const progress = (doneBytes: number, totalBytes: number) => {
      job.progress = { what: 'restoring', totalBytes, doneBytes };
    };
    await pullMachine(
      parked.uri,
      here,
      { name: job.machine, xml: machineXml(), hasScratch: scratch !== undefined },
      { ca, cert, key },
      { timeoutMs: PULL_TIMEOUT_MS, signal, progress },
    );
    const domain = await hypervisor.find(job.machine);
    job.resources.domain = domain;
    if (!(await hypervisor.isPaused(domain))) throw new CaddisError('it arrived running');
    job.bootPath = 'hand-over';
    job.log.info(`handed over from ${parked.host}, libvirt to libvirt`);
    return true;
  } catch (error) {
    // It may be here by now, standing still.
    await hypervisor
      .find(job.machine)
      .then((domain) => hypervisor.destroy(domain))
      .catch(() => undefined);
    delete job.resources.domain;
    signal.throwIfAborted();
    job.log.warn(`no hand-over from ${parked.host}: ${messageOf(error)}; going on from the store`);
    await rm(path, { force: true });
    return false;
  } finally {
    job.progress = undefined;
  }
}

/** For libvirt to fill. */
async function emptyDisk(path: string, bytes: number, owner: NodeContext['qemuOwner']): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    await file.truncate(bytes);
    await file.chown(owner.uid, owner.gid);
  } finally {
    await file.close();
  }
}
