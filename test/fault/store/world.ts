import { createHash } from 'node:crypto';

import type { RestoreTarget } from '../../../src/checkpoint/compatible.ts';
import type { Draft } from '../../../src/checkpoint/draft.ts';
import type { Extent } from '../../../src/checkpoint/extents.ts';
import type { Generation } from '../../../src/checkpoint/generation.ts';
import { hashFile } from '../../../src/checkpoint/hash.ts';
import type { StoreIo } from '../../../src/checkpoint/io.ts';
import type { Manifest } from '../../../src/checkpoint/manifest-schema.ts';
import { packScratch } from '../../../src/checkpoint/scratch.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import type { JobKey } from '../../../src/model/job.ts';
import { UnreliableIo } from './unreliable-io.ts';

/** What all fault scenarios share: one store, one job, and images whose every byte follows from a tag, so that what is found can be compared with what was saved. */
export const STORE = '/store';
export const LOCAL = '/local';
export const KEY: JobKey = { scheduler: 'slurm', jobId: '4711', task: '0' };
export const OWNER = { host: 'n1', bootId: 'boot-1', machine: 'caddis-1' };
export const TARGET: RestoreTarget = {
  key: KEY,
  submitIdentity: 'submitted 1',
  uid: 1000,
  images: ['sha256:image'],
  acceleration: 'tcg',
  cpuModel: 'qemu64',
  machineTypes: ['pc-q35-7.2'],
  qemuVersion: '7.2.19',
};
const EXTENTS: readonly Extent[] = [
  [0, 3000],
  [65_536, 5000],
  [131_072, 700],
];
const DISK_BYTES = 200_000;

export async function newWorld(): Promise<{ io: UnreliableIo; store: CheckpointStore }> {
  const io = new UnreliableIo();
  for (const path of [STORE, LOCAL]) await io.mkdir(path);
  const store = new CheckpointStore({ dir: STORE, io });
  await store.prepare();
  io.settle();
  return { io, store };
}

/** The same store as another process sees it. */
export function reopen(io: UnreliableIo): CheckpointStore {
  io.weather = {};
  return new CheckpointStore({ dir: STORE, io });
}

export function memoryOf(tag: string): Uint8Array {
  return bytesOf(`memory ${tag}`, 9000);
}

export function diskOf(tag: string): Uint8Array {
  const disk = new Uint8Array(DISK_BYTES);
  for (const [offset, length] of EXTENTS) disk.set(bytesOf(`disk ${tag} ${offset}`, length), offset);
  return disk;
}

/** A node saves its machine: a draft, the two images, and their manifest. */
export async function save(store: CheckpointStore, tag: string, epoch = 1): Promise<Generation> {
  const { draft, manifest } = await fillDraft(store, tag, epoch);
  return draft.publish(manifest);
}

export async function fillDraft(
  store: CheckpointStore,
  tag: string,
  epoch = 1,
): Promise<{ draft: Draft; manifest: Manifest }> {
  const { io } = store;
  const draft = await store.begin(KEY, { owner: OWNER, expectedBytes: 1000 });
  await writeFile(io, draft.memoryPath, memoryOf(tag));
  const disk = `${LOCAL}/${tag}-${epoch}.img`;
  await io.unlink(disk).catch(() => undefined);
  await writeFile(io, disk, diskOf(tag));
  const scratch = await packScratch(io, disk, draft.scratchPath, EXTENTS);
  return {
    draft,
    manifest: { ...manifestOf(tag, epoch), memory: await hashFile(io, draft.memoryPath), scratch },
  };
}

export function manifestOf(tag: string, epoch = 1): Manifest {
  return {
    version: 1,
    key: { ...KEY },
    uid: 1000,
    user: 'ada',
    submitIdentity: 'submitted 1',
    machine: 'caddis-1',
    incarnation: tag,
    epoch,
    host: 'n1',
    takenAt: '2026-05-01T10:00:00.000Z',
    reason: 'requeue',
    image: 'sha256:image',
    kernel: 'sha256:kernel',
    acceleration: 'tcg',
    cpuModel: 'qemu64',
    machineType: 'pc-q35-7.2',
    qemuVersion: '7.2.19',
    libvirtVersion: '9.0.0',
    domainXml: '<domain type="qemu"/>',
    facts: { anything: ['at', 'all'] },
    sizes: { cpus: 2, memoryBytes: 268_435_456, pluggedBytes: 0 },
    memory: { bytes: 0, hash: `sha256-4m:${'0'.repeat(64)}` },
    sessions: [
      {
        session: '1',
        name: 'batch',
        phase: 'running',
        streams: {
          stdout: {
            delivered: '18446744073709551615',
            file: { path: '/home/ada/out', length: '12', device: '41', inode: '99' },
          },
        },
      },
    ],
    relays: [
      {
        session: '2',
        parent: '1',
        call: 'aGk=',
        started: true,
        stdinAccepted: '0',
        stdout: { acknowledged: '3', base64: 'aGk=' },
        stderr: { acknowledged: '0', base64: '' },
      },
    ],
    forget: [],
    settled: false,
    totals: { frozenMs: 0, ranMs: 1000 },
  };
}

export async function writeFile(io: StoreIo, path: string, content: Uint8Array): Promise<void> {
  const file = await io.open(path, 'create');
  const step = Math.ceil(content.length / 3);
  for (let at = 0; at < content.length; at += step) await file.write(content.subarray(at, at + step), at);
  await file.close();
}

/** Made once for each seed. */
const made = new Map<string, Uint8Array>();

function bytesOf(seed: string, length: number): Uint8Array {
  let bytes = made.get(seed);
  if (bytes) return bytes;
  bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 32)
    bytes.set(
      createHash('sha256')
        .update(`${seed} ${at}`)
        .digest()
        .subarray(0, length - at),
      at,
    );
  made.set(seed, bytes);
  return bytes;
}
