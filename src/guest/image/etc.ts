import { existsSync } from 'node:fs';

import type { Tree } from './tree.ts';

/**
 * The directories that every root has. /proc, /sys, /dev, /run, /tmp, /scratch are mounted over by caddis-init; the others are mount points
 * for what a site shares.
 */
export function addDirectories(tree: Tree): void {
  const plain = [
    'proc',
    'sys',
    'dev',
    'run',
    'home',
    'mnt',
    'media',
    'opt',
    'srv',
    'scratch',
    'etc',
    'ro',
    'shared',
  ];
  for (const name of plain) tree.directory(`/${name}`);
  for (const path of ['/usr/bin', '/usr/sbin', '/usr/lib', '/usr/lib64', '/usr/share', '/usr/local/bin'])
    tree.directory(path);
  for (const path of ['/var/lib', '/var/log', '/var/spool', '/var/cache', '/var/mail']) tree.directory(path);
  tree.directory('/root', 0o700);
  tree.directory('/tmp', 0o1777);
  tree.directory('/var/tmp', 0o1777);
  tree.link('/var/run', '/run');
  tree.link('/var/lock', '/run/lock');
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) tree.link(`/${name}`, `usr/${name}`);
}

/**
 * /etc for a root without one: accounts of the system only (caddis-init adds the job's user), names resolved from files, nothing of
 * this node. `lookAside` says what is there already, e.g. from packages: that stays.
 */
export function addEtc(tree: Tree, lookAside: (path: string) => boolean = () => false): void {
  const put = (path: string, content: string) => {
    if (!lookAside(path) && !tree.has(path)) tree.data(path, content);
  };
  put('/etc/passwd', PASSWD);
  put('/etc/group', GROUP);
  put('/etc/profile', PROFILE);
  put('/etc/bash.bashrc', BASHRC);
  put('/etc/shells', '/bin/sh\n/usr/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/dash\n/usr/bin/dash\n');
  put('/etc/environment', '');
  put('/etc/ld.so.conf', 'include /etc/ld.so.conf.d/*.conf\n');
  put(
    '/etc/ld.so.conf.d/x86_64-linux-gnu.conf',
    '/usr/local/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu\n',
  );
  addNodeNeutral(tree);
}

/** What is never taken from a node or a package, since it would name a machine or ask a daemon that a guest does not have. */
export function addNodeNeutral(tree: Tree): void {
  tree.data('/etc/nsswitch.conf', NSSWITCH);
  tree.data('/etc/hosts', '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n');
  tree.data('/etc/resolv.conf', '');
  tree.data('/etc/hostname', 'localhost\n');
  tree.data('/etc/machine-id', '');
  tree.data('/etc/fstab', '');
  tree.link('/etc/mtab', '/proc/self/mounts');
}

/** Files of the host's /etc that mean the same everywhere; absent ones are left out. */
export function neutralHostFiles(): string[] {
  return [
    '/etc/services',
    '/etc/protocols',
    '/etc/rpc',
    '/etc/localtime',
    '/etc/timezone',
    '/etc/debian_version',
    '/etc/os-release',
    '/etc/inputrc',
    '/etc/ld.so.conf',
    '/etc/ld.so.conf.d',
    '/etc/mime.types',
    '/etc/magic',
  ].filter(existsSync);
}

const PASSWD = [
  'root:x:0:0:root:/root:/bin/bash',
  'daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin',
  'bin:x:2:2:bin:/bin:/usr/sbin/nologin',
  'sys:x:3:3:sys:/dev:/usr/sbin/nologin',
  'sync:x:4:65534:sync:/bin:/bin/sync',
  'man:x:6:12:man:/var/cache/man:/usr/sbin/nologin',
  'mail:x:8:8:mail:/var/mail:/usr/sbin/nologin',
  'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin',
  '',
].join('\n');

/** Debian's fixed group numbers (base-passwd), as far as files and devices in a guest carry them. */
const GROUP = [
  ...[
    'root:0',
    'daemon:1',
    'bin:2',
    'sys:3',
    'adm:4',
    'tty:5',
    'disk:6',
    'lp:7',
    'mail:8',
    'man:12',
    'kmem:15',
    'dialout:20',
  ],
  ...[
    'sudo:27',
    'audio:29',
    'src:40',
    'shadow:42',
    'utmp:43',
    'video:44',
    'staff:50',
    'games:60',
    'users:100',
    'nogroup:65534',
  ],
]
  .map((entry) => `${entry.replace(':', ':x:')}:\n`)
  .join('');

const NSSWITCH = `# A guest asks no daemon: caddis-init writes the job's user and groups into the files.
passwd: files
group: files
shadow: files
gshadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
netgroup: files
`;

const PROFILE = `if [ "$(id -u)" -eq 0 ]; then
  PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
else
  PATH="/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
fi
export PATH
if [ "\${PS1-}" ] && [ "\${BASH-}" ] && [ "$BASH" != "/bin/sh" ] && [ -f /etc/bash.bashrc ]; then
  . /etc/bash.bashrc
fi
if [ -d /etc/profile.d ]; then
  for i in /etc/profile.d/*.sh; do
    if [ -r "$i" ]; then
      . "$i"
    fi
  done
  unset i
fi
`;

const BASHRC = `[ -z "$PS1" ] && return
shopt -s checkwinsize
PS1='\\u@\\h:\\w\\$ '
`;
