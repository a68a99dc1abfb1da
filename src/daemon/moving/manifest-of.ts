import { hostname } from 'node:os';

import type { HashedFile } from '../../checkpoint/hash.ts';
import type { Manifest, ScratchImage } from '../../checkpoint/manifest-schema.ts';
import { machineTypeOf } from '../../vm/retarget.ts';
import { usageOf } from '../accounting/tally.ts';
import type { Job } from '../job.ts';
import { factsToTake } from './binding.ts';
import { type Checkpoints, submitIdentity } from './checkpoints.ts';
import type { SavedSessions } from './moved-sessions.ts';

const LEAVING: ReadonlySet<Manifest['reason']> = new Set(['requeue', 'migrate']);

/** The manifest of a checkpoint whose images are written. */
export function describeCheckpoint(
  { identity, custody }: Checkpoints,
  job: Job,
  saved: {
    reason: Manifest['reason'];
    domainXml: string;
    memory: HashedFile;
    disk: ScratchImage | undefined;
    sessions: SavedSessions;
    settled: boolean;
    /** What it was when the images were taken; absent: what it is. */
    as?: Pick<Job, 'facts' | 'sizes'>;
  },
): Manifest {
  const { facts, sizes } = saved.as ?? job;
  const { request } = facts;
  const { cpus = 1, memoryBytes = 0, pluggedBytes, totalBytes = 0, idleLossBytes } = sizes;
  return {
    version: 1,
    key: job.key,
    uid: request.uid,
    user: request.user,
    submitIdentity: submitIdentity(request),
    machine: job.machine,
    incarnation: job.facts.incarnation,
    epoch: custody.epochOf(job),
    host: hostname(),
    takenAt: new Date().toISOString(),
    reason: saved.reason,
    image: job.facts.image,
    kernel: job.facts.image,
    acceleration: job.facts.acceleration,
    cpuModel: identity.cpuModel,
    machineType: machineTypeOf(saved.domainXml),
    qemuVersion: identity.qemuVersion,
    libvirtVersion: identity.libvirtVersion,
    domainXml: saved.domainXml,
    facts: { ...(LEAVING.has(saved.reason) ? factsToTake(job) : facts), used: usageOf(job) },
    sizes: { cpus, memoryBytes, pluggedBytes, totalBytes, idleLossBytes },
    settled: saved.settled,
    memory: saved.memory,
    ...(saved.disk ? { scratch: saved.disk } : {}),
    ...saved.sessions,
    totals: { frozenMs: job.frozenMs, ranMs: job.ranMs },
  };
}
