import { hostname } from 'node:os';

import type { RestoreTarget } from '../../checkpoint/compatible.ts';
import { nodeIo } from '../../checkpoint/node-io.ts';
import { CheckpointStore } from '../../checkpoint/store.ts';
import type { Config } from '../../config/schema.ts';
import type { JobRequest } from '../../model/job.ts';
import type { Job } from '../job.ts';
import type { Log } from '../log.ts';
import { Custody } from './custody.ts';
import { openStaging } from './staging.ts';

/** What a checkpoint depends on, as this node has it. */
export interface NodeIdentity {
  readonly image: string;
  readonly acceleration: 'kvm' | 'tcg';
  readonly cpuModel: string;
  readonly machineTypes: readonly string[];
  readonly qemuVersion: string;
  readonly libvirtVersion: string;
}

/** This node's part in the site's checkpoint store. */
export interface Checkpoints {
  readonly store: CheckpointStore;
  readonly custody: Custody;
  readonly identity: NodeIdentity;
  /** `staging_dir`: root's own directory in the site's. */
  readonly settings: Config['checkpoint'];
}

/** Opens the store of caddis.toml; undefined when none is set. Throws StoreUnavailable. */
export async function openCheckpoints(
  settings: Config['checkpoint'],
  identity: NodeIdentity,
  options: { readonly log: Log; readonly overtaken: (job: Job) => void },
): Promise<Checkpoints | undefined> {
  if (settings.dir === undefined) return undefined;
  const staging = await openStaging(settings.staging_dir, options.log);
  const io = nodeIo();
  const store = new CheckpointStore({ dir: settings.dir, io, quotaBytes: settings.quota });
  await store.prepare();
  const custody = new Custody({
    io,
    store: settings.dir,
    leaseMs: settings.lease * 1000,
    heartbeatMs: settings.heartbeat * 1000,
    ...options,
  });
  await custody.start();
  options.log.info(`checkpoints in ${settings.dir}; this node is ${hostname()}`);
  return { store, custody, identity, settings: { ...settings, staging_dir: staging } };
}

/** What a checkpoint must fit, to be this job's and to go on here. */
export function targetOf(request: JobRequest, identity: NodeIdentity): RestoreTarget {
  return {
    key: request.key,
    submitIdentity: submitIdentity(request),
    uid: request.uid,
    images: [identity.image],
    acceleration: identity.acceleration,
    cpuModel: identity.cpuModel,
    machineTypes: identity.machineTypes,
    qemuVersion: identity.qemuVersion,
  };
}

/**
 * Tells a job from a later one with the same id, which schedulers give out again after millions: who and where. The time of submission does not serve, since Slurm counts a requeue as one.
 */
export function submitIdentity({ uid, workDir }: Pick<JobRequest, 'uid' | 'workDir'>): string {
  return `${uid} ${workDir}`;
}
