import { readFile } from 'node:fs/promises';

import type { Config } from '../config/schema.ts';

/** One mount that the guest makes for itself. `options` are mount(2)'s. */
export interface GuestMount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: string;
}

/** File systems that a guest can mount itself over the network, which keeps its job movable. */
const NETWORK_TYPES = new Set(['nfs', 'nfs4', 'ceph']);

/**
 * The network file systems of this host, to be mounted in guests at the same paths, and what caddis.toml adds. An entry of caddis.toml wins over the host's for the same target.
 * Parents come before children.
 */
export async function guestMounts(storage: Config['storage']): Promise<GuestMount[]> {
  const byTarget = new Map<string, GuestMount>();
  if (storage.auto)
    for (const mount of parseMounts(await readFile('/proc/self/mounts', 'utf8')))
      byTarget.set(mount.target, mount);
  for (const mount of storage.mount) byTarget.set(mount.target, mount);
  return [...byTarget.values()].sort((a, b) => a.target.length - b.target.length);
}

/** The network mounts in the text of /proc/self/mounts, with options that a guest can use: not the host's own client address. */
export function parseMounts(text: string): GuestMount[] {
  return text
    .split('\n')
    .map((line) => line.split(' '))
    .flatMap(([source, target, type, options]) => {
      if (!source || !target || !type || options === undefined || !NETWORK_TYPES.has(type)) return [];
      return [
        {
          type: type === 'nfs' ? 'nfs4' : type,
          source: fromOctal(source),
          target: fromOctal(target),
          options: guestOptions(options),
        },
      ];
    });
}

/** Replaces the placeholder of the machine's own address and adds it where NFS wants it. */
export function withAddress(mount: GuestMount, address: string | undefined): GuestMount {
  if (address === undefined) return mount;
  let options = mount.options.replaceAll('{address}', address);
  if (mount.type === 'nfs4' && !/(^|,)clientaddr=/.test(options))
    options = `${options},clientaddr=${address}`;
  return { ...mount, options: options.replace(/^,/, '') };
}

function guestOptions(options: string): string {
  return options
    .split(',')
    .filter((option) => !/^(clientaddr|local_lock)=/.test(option) && option !== 'relatime')
    .join(',');
}

/** /proc/mounts writes blanks and backslashes as octal. */
function fromOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
