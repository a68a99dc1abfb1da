import { join } from 'node:path';

import type { LabPaths } from './host.ts';

/** Where the lab lives; `CADDIS_LAB_ROOT` moves it. The addresses and cgroups are fixed, so there is one lab per machine. */
export const labRoot = process.env.CADDIS_LAB_ROOT ?? '/var/lib/caddis-lab';

export const labPaths: LabPaths = {
  root: labRoot,
  logs: join(labRoot, 'logs'),
  run: join(labRoot, 'run'),
  home: join(labRoot, 'home'),
  store: join(labRoot, 'store'),
};

/** The repository, and where the lab's own C programs are built. */
export const repository = join(import.meta.dirname, '..', '..');
export const programs = {
  labhost: join(repository, 'build/lab/labhost'),
  subreaper: join(repository, 'build/lab/subreaper'),
} as const;

export const headName = 'head';
export const nodeNames = ['n1', 'n2'] as const;

/** One subnet for hosts and machines, so that a VM's tap joins its node's bridge and gets an address of the site. */
export const network = {
  bridge: 'br0',
  prefixLength: 24,
  addresses: { head: '10.77.0.1', n1: '10.77.0.11', n2: '10.77.0.12' },
  /** For VMs: claimed by caddisd, inclusive. */
  vmRange: { first: '10.77.0.100', last: '10.77.0.199' },
} as const;

export type HostName = keyof typeof network.addresses;
export const hostNames: readonly HostName[] = [headName, ...nodeNames];

/** Files of one host that take the place of the machine's own, see mounts.ts. */
export function hostDirectory(host: string): string {
  return join(labRoot, 'hosts', host);
}

/** The service account that writes the store, the same on every host; root is squashed there as on a site's NFS. */
export const storeAccount = 'caddis';
/** Debian's account for unprivileged QEMU (libvirt-daemon-system makes it with this uid). */
export const qemuAccount = { name: 'libvirt-qemu', uid: 64055 } as const;
