import { join } from 'node:path';

import { controllers } from './cgroups.ts';
import type { LabHost } from './host.ts';
import { hostDirectory } from './layout.ts';

/** Directories that each host has for itself; the rest of the machine's files are shared by all hosts. */
const privateDirectories = [
  '/etc/caddis',
  '/etc/libvirt',
  '/etc/pki',
  '/run/caddis',
  '/run/libvirt',
  '/var/cache/libvirt',
  '/var/lib/caddis',
  '/var/lib/libvirt',
  '/var/log/caddis',
  '/var/log/libvirt',
  '/var/spool',
] as const;

/** Sockets and pid files of the last lab must not be there in the next. */
const emptiedAtStart: ReadonlySet<string> = new Set(['/run/caddis', '/run/libvirt']);

/**
 * Shell script (run as root in the host) for its mounts: private directories and files kept below
 * `<root>/hosts/<host>`, its own sysfs (shows its network devices) and its own view of the cgroups.
 */
export function mountScript(host: LabHost): string {
  const base = hostDirectory(host.name);
  const binds = privateDirectories.map((directory) => {
    const kept = join(base, directory);
    const empty = emptiedAtStart.has(directory) ? `rm -rf ${kept}; ` : '';
    return `${empty}mkdir -p ${kept} ${directory}; mount --bind ${kept} ${directory}`;
  });
  const cgroups = controllers.map(
    (name) => `mkdir /sys/fs/cgroup/${name}; mount -t cgroup -o ${name} cgroup /sys/fs/cgroup/${name}`,
  );
  return [
    ...binds,
    `mount --bind ${base}/hosts /etc/hosts`,
    `[ ! -e /etc/hostname ] || mount --bind ${base}/hostname /etc/hostname`,
    ...kvmDevice(base),
    'mount -t sysfs sysfs /sys',
    'mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup',
    ...cgroups,
  ].join('\n');
}

/**
 * /dev/kvm as Debian has it, for the group kvm. Where QEMU's user may not open it, libvirt takes what it knows of QEMU for outdated and probes it anew for every
 * domain: 15 s instead of 0.3 s each.
 */
function kvmDevice(base: string): string[] {
  const node = `${base}/kvm`;
  const make = `rm -f ${node}; mknod -m 660 ${node} c 10 232; chgrp kvm ${node}; mount --bind ${node} /dev/kvm`;
  return [`if [ -c /dev/kvm ]; then ${make}; fi`];
}
