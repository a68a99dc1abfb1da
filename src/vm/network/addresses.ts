import { randomBytes } from 'node:crypto';
import { link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { messageOf, NodeUnfit } from '../../model/errors.ts';

/** Holder of the address of a machine that is in the store. */
export const IN_STORE = '-';

export interface AddressRange {
  /** Both ends included. */
  readonly first: number;
  readonly last: number;
}

/** Parses `10.77.0.100-10.77.0.199`. Throws RangeError. */
export function parseRange(text: string): AddressRange {
  const [first, last] = text.split('-').map(toNumber);
  if (first === undefined || last === undefined || last < first)
    throw new RangeError(`"${text}" is no range of addresses: write for example 10.0.4.10-10.0.4.250`);
  return { first, last };
}

/**
 * Claims a free address of the range for `machine` on `host`. A claim is a file named after the address in a directory that all nodes share, made by link(2) of a
 * unique file and judged by reading back, since NFS may repeat an answer. Starts at a place drawn from the machine's name, so that nodes rarely meet.
 * Throws NodeUnfit when all are taken or the directory cannot be reached.
 */
export async function claimAddress(
  dir: string,
  range: AddressRange,
  owner: { host: string; machine: string },
): Promise<string> {
  const count = range.last - range.first + 1;
  const start = Number.parseInt(owner.machine.slice(-6), 16) || 0;
  const text = `${owner.host} ${owner.machine}\n`;
  const unique = join(dir, `.claim-${owner.machine}-${randomBytes(4).toString('hex')}`);
  try {
    await mkdir(dir, { recursive: true, mode: 0o755 });
    const taken = new Set(await readdir(dir));
    await writeFile(unique, text, { flag: 'wx' });
    try {
      for (let i = 0; i < count; i++) {
        const address = toText(range.first + ((start + i) % count));
        if (taken.has(address)) continue;
        await link(unique, join(dir, address)).catch(() => undefined);
        const holder = await readFile(join(dir, address), 'utf8').catch(() => '');
        if (holder === text) return address;
      }
    } finally {
      await rm(unique, { force: true });
    }
  } catch (error) {
    throw new NodeUnfit(`cannot claim an address in ${dir}: ${messageOf(error)}`, {
      wholeNode: true,
      cause: error,
    });
  }
  throw new NodeUnfit(`all ${count} addresses of network.range are taken (claims in ${dir})`, {
    wholeNode: false,
  });
}

/** Gives an address back, if `owner` still holds it. Never throws for a claim that is gone. */
export async function releaseAddress(
  dir: string,
  address: string,
  owner: { host: string; machine: string },
): Promise<void> {
  const path = join(dir, address);
  const holder = await readFile(path, 'utf8').catch(() => '');
  if (holder === `${owner.host} ${owner.machine}\n`) await rm(path, { force: true });
}

/**
 * Hands a machine's address over to its next holder, as the machine goes from a node to the store and on to another node. Whose turn it is, the job's claim has decided; a node
 * that was lost has given nothing back. Throws NodeUnfit when another machine has the address.
 */
export async function transferAddress(
  dir: string,
  address: string,
  machine: string,
  to: string,
): Promise<void> {
  const path = join(dir, address);
  const unique = join(dir, `.claim-${machine}-${randomBytes(4).toString('hex')}`);
  const wanted = `${to} ${machine}\n`;
  const holder = await readFile(path, 'utf8').catch(() => undefined);
  if (holder === wanted) return;
  if (holder !== undefined && holder.trim().split(' ')[1] !== machine)
    throw new NodeUnfit(`address ${address} of ${machine} is held by another machine: ${holder.trim()}`, {
      wholeNode: false,
    });
  await writeFile(unique, wanted, { flag: 'wx' });
  try {
    // Taken from nobody only when nobody has it: link(2) fails when the file is there.
    if (holder === undefined) await link(unique, path);
    else await rename(unique, path);
  } finally {
    await rm(unique, { force: true });
  }
}

/** Gives back what `host` holds for machines that it no longer has: after a crash. One of which a checkpoint is in the store keeps its address there. Returns the addresses. */
export async function releaseStale(
  dir: string,
  host: string,
  isAlive: (machine: string) => boolean,
  isStored: (machine: string) => Promise<boolean> = async () => false,
): Promise<string[]> {
  const released: string[] = [];
  for (const name of await readdir(dir).catch(() => [] as string[])) {
    const [holder, machine] = (await readFile(join(dir, name), 'utf8').catch(() => '')).trim().split(' ');
    if (holder !== host || machine === undefined || isAlive(machine)) continue;
    if (name.startsWith('.')) {
      // A claim that was cut off before it was one.
      if (name.startsWith('.claim-')) await rm(join(dir, name), { force: true });
      continue;
    }
    if (await isStored(machine)) await transferAddress(dir, name, machine, IN_STORE);
    else await releaseAddress(dir, name, { host, machine });
    released.push(name);
  }
  return released;
}

/** Locally administered MAC address that goes with an address, so that ARP caches stay right when an address is used again. */
export function macOf(address: string): string {
  const parts = address.split('.').map(Number);
  return ['52', '54', ...parts.map((p) => p.toString(16).padStart(2, '0'))].join(':');
}

function toNumber(text: string): number | undefined {
  const parts = text.trim().split('.').map(Number);
  if (parts.length !== 4 || parts.some((p) => !Number.isInteger(p) || p < 0 || p > 255)) return undefined;
  return parts.reduce((sum, part) => sum * 256 + part, 0);
}

function toText(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}
