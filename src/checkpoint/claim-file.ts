import { join } from 'node:path';

import * as z from 'zod';

import { CheckpointRefused, StoreUnavailable } from './errors.ts';
import type { StoreIo } from './io.ts';
import { parseNumber } from './layout.ts';
import { readdirOrNone, unless } from './tree.ts';

const holderSchema = z.object({
  host: z.string().min(1),
  machine: z.string().min(1),
  incarnation: z.string().min(1),
  /** /proc/sys/kernel/random/boot_id: a host that booted again has none of its machines left. */
  bootId: z.string().min(1),
});
const recordSchema = holderSchema.extend({ nonce: z.string().min(1) });

const parkedSchema = z.object({
  /** The checkpoint whose very machine stands still on the holder's host. */
  generation: z.number().int().positive(),
  /** Where the holder's libvirtd can be asked for it, e.g. `qemu+tls://n1/system`; unset where machines are not handed over. */
  uri: z.string().min(1).optional(),
});
const goesOnSchema = z.object({
  /** How the machine was made: `restore`, `hand-over`, `thaw`. */
  how: z.string().min(1),
});

/** Who runs a job. */
export type ClaimHolder = Readonly<z.infer<typeof holderSchema>>;

/** A machine that was saved, still stands where it was frozen, and will not run again under this claim. */
export type Parked = Readonly<z.infer<typeof parkedSchema>>;
export type GoesOn = Readonly<z.infer<typeof goesOnSchema>>;

/** The highest epoch of a job, and who made it. */
export interface CurrentClaim {
  readonly epoch: number;
  readonly holder: ClaimHolder;
  /** The holder has said that it runs the job no longer. */
  readonly released: boolean;
  /** The holder has saved the job and will not go on with it under this claim; its machine is still there for whoever claims the job next. */
  readonly parked: Parked | undefined;
  /** Drawn for this claim: tells it from another of the same holder. */
  readonly nonce: string;
}

export function claimBytes(holder: ClaimHolder, nonce: string): Buffer {
  const { host, machine, incarnation, bootId } = holder;
  return Buffer.from(`${JSON.stringify({ host, machine, incarnation, bootId, nonce })}\n`);
}

export function releaseName(epoch: number): string {
  return `${epoch}.released`;
}

export function parkedName(epoch: number): string {
  return `${epoch}.parked`;
}

export function goesOnName(epoch: number): string {
  return `${epoch}.goes-on`;
}

/** All that a holder may have said of its claim. */
export function marksOf(epoch: number): string[] {
  return [releaseName(epoch), parkedName(epoch), goesOnName(epoch)];
}

/** Epochs in a directory of claims, ascending. */
export async function epochsIn(io: StoreIo, claims: string): Promise<number[]> {
  const numbers = (await readdirOrNone(io, claims)).map(parseNumber).filter((n) => n !== undefined);
  return numbers.sort((a, b) => a - b);
}

/** The claim that counts; undefined when there is none. Throws CheckpointRefused when it cannot be understood. */
export async function readCurrent(io: StoreIo, claims: string): Promise<CurrentClaim | undefined> {
  for (let look = 1; ; look++) {
    const epoch = (await epochsIn(io, claims)).at(-1);
    if (epoch === undefined) return undefined;
    const path = join(claims, String(epoch));
    const content = await io.read(path, 4096).catch(unless('ENOENT'));
    if (content) {
      const { nonce, ...holder } = parseRecord(content, path);
      const release = await io.stat(join(claims, releaseName(epoch))).catch(unless('ENOENT'));
      const parked = await readMark(io, join(claims, parkedName(epoch)), parkedSchema);
      return { epoch, holder, released: release !== undefined, parked, nonce };
    }
    // Gone since the listing: a later epoch is there, or the whole job was removed.
    if (look === 5) throw new StoreUnavailable(path, 'it is listed and cannot be opened');
  }
}

/** Undefined while the job does not run under this claim, or its holder has not said so. */
export function readGoesOn(io: StoreIo, claims: string, epoch: number): Promise<GoesOn | undefined> {
  return readMark(io, join(claims, goesOnName(epoch)), goesOnSchema);
}

/** A mark that was torn by a crash says nothing. */
async function readMark<T>(io: StoreIo, path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const content = await io.read(path, 4096).catch(unless('ENOENT'));
  if (!content) return undefined;
  try {
    return schema.parse(JSON.parse(Buffer.from(content).toString('utf8')));
  } catch {
    return undefined;
  }
}

function parseRecord(content: Uint8Array, path: string): z.infer<typeof recordSchema> {
  try {
    return recordSchema.parse(JSON.parse(Buffer.from(content).toString('utf8')));
  } catch (error) {
    throw new CheckpointRefused(
      `${path}: expected a claim, it is damaged; see that no node runs this job and remove the file`,
      { cause: error },
    );
  }
}
