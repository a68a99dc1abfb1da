import * as z from 'zod';

import { formatKey, parseKey } from '../model/job.ts';
import type { ImageHash } from './hash.ts';

/** The version that this caddisd writes, and the only one that it reads. */
export const MANIFEST_VERSION = 1;

const count = z.number().int().nonnegative();
/** A 64-bit number as text: JSON has no integers of that size. */
const decimal = z.string().regex(/^(0|[1-9]\d{0,19})$/);
const imageHash = z.custom<ImageHash>(
  (value) => typeof value === 'string' && /^sha256-4m:[0-9a-f]{64}$/.test(value),
  'expected sha256-4m:<64 hex digits>',
);
const text = z.string().min(1);

const stream = z.strictObject({
  /** Bytes of the stream that had reached their reader (docs/protocol.md, offsets). */
  delivered: decimal,
  /** Set when the stream goes to a regular file: what must still be there to go on at the offset. `length` is the file's own, in bytes. */
  file: z.strictObject({ path: text, length: decimal, device: decimal, inode: decimal }).optional(),
});

/** As docs/protocol.md, EXIT. */
const exit = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('exited'), code: count }),
  z.strictObject({ kind: z.literal('signalled'), signal: count }),
  z.strictObject({ kind: z.literal('not-started'), errno: count, message: z.string() }),
  z.strictObject({ kind: z.literal('lost'), message: z.string() }),
]);

const session = z.strictObject({
  session: decimal,
  name: z.string(),
  /** Of a scheduler's command that was called in the job: what it was. */
  relay: z.string().optional(),
  task: count.optional(),
  phase: z.enum(['opening', 'running', 'exited', 'ended']),
  /** Exit status as the guest gave it, while nobody has acknowledged it. */
  exit: exit.optional(),
  streams: z.strictObject({ stdout: stream.optional(), stderr: stream.optional() }),
  /** The scheduler's variables with which it was started. */
  given: z.record(z.string(), z.string()).optional(),
});

/** Bytes that were in flight between a relayed command and the guest, behind what the guest had taken. */
const inFlight = z.strictObject({ acknowledged: decimal, base64: z.base64() });

const relay = z.strictObject({
  session: decimal,
  parent: decimal,
  /** The call as the guest sent it (docs/protocol.md, OPEN). */
  call: z.base64(),
  /** False: it was called, and not started yet. */
  started: z.boolean(),
  stdinAccepted: decimal,
  stdout: inFlight,
  stderr: inFlight,
  /** It had ended, and its caller had not heard of it. */
  exit: exit.optional(),
});

const memory = z.strictObject({ bytes: count, hash: imageHash });

const scratch = z
  .strictObject({
    /** Size of the disk as the guest sees it. */
    bytes: count,
    /** [offset, length] of what holds data, in order; packed one after another. The rest reads as zeros. */
    extents: z.array(z.tuple([count, count])),
    packedBytes: count,
    hash: imageHash,
  })
  .refine(fits, 'extents overlap, leave the disk, or are not packedBytes together');

function fits(image: { bytes: number; extents: [number, number][]; packedBytes: number }): boolean {
  let end = 0;
  let packed = 0;
  for (const [offset, length] of image.extents) {
    if (offset < end || length === 0) return false;
    end = offset + length;
    packed += length;
  }
  return end <= image.bytes && packed === image.packedBytes;
}

/** What stands in `manifest.json` beside `sha256`. Sizes in bytes, times in milliseconds. */
export const manifestSchema = z.strictObject({
  version: z.literal(MANIFEST_VERSION),
  key: z
    .strictObject({ scheduler: z.enum(['slurm', 'gridengine']), jobId: text, task: text })
    .refine((key) => parseKey(formatKey(key))?.task === key.task, 'no key of a job'),
  uid: count,
  user: text,
  /** What tells this job from a later one with the same id (submit time, for one): the caller's own text, compared as it is. */
  submitIdentity: text,
  machine: text,
  incarnation: text,
  /** Epoch of the claim under which it was taken, see claims.ts. */
  epoch: count,
  host: text,
  takenAt: z.iso.datetime(),
  reason: z.enum(['requeue', 'suspend', 'periodic', 'migrate', 'admin']),
  image: text,
  kernel: text,
  acceleration: z.enum(['kvm', 'tcg']),
  cpuModel: text,
  /** Versioned, as libvirt names it: `pc-q35-7.2`. */
  machineType: text,
  qemuVersion: text,
  libvirtVersion: text,
  domainXml: text,
  facts: z.unknown(),
  sizes: z.object({ cpus: count, memoryBytes: count, pluggedBytes: count }).catchall(z.number()),
  memory,
  scratch: scratch.optional(),
  sessions: z.array(session),
  relays: z.array(relay),
  /** Sessions that were over, of which the guest may not have heard. */
  forget: z.array(decimal),
  /** The job stood still inside the guest while it was saved, with nothing unwritten: it may be restored after the machine has run on. */
  settled: z.boolean(),
  /** Of a job on several hosts: which set of checkpoints this one belongs to. */
  set: z.unknown().optional(),
  totals: z.strictObject({ frozenMs: z.number().nonnegative(), ranMs: z.number().nonnegative() }),
});

/** Everything that is needed to go on with a job from its two images, on any node. */
export type Manifest = z.infer<typeof manifestSchema>;
export type ScratchImage = z.infer<typeof scratch>;
