import { lstatSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { CaddisError } from '../../model/errors.ts';

import { Collector } from './collect.ts';
import { addDirectories, addNodeNeutral } from './etc.ts';
import type { GuestKernel } from './kernel.ts';
import { addRootModules } from './root.ts';
import { writeTree } from './tree.ts';

/** What mkfs.erofs needs beyond the staged root to see the host's own trees without a copy of them. */
interface HostRoot {
  readonly prefix: readonly string[];
  readonly directory: string;
  readonly exclude: readonly string[];
}

/**
 * Left out of the host's /etc, besides everything that an ordinary user may not read there (shadow, host keys, secrets of daemons: the guest
 * is the user's): identities of the node, and configuration of daemons that do not run in a guest.
 */
const HOST_ETC_EXCLUDED: readonly string[] = [
  'shadow',
  'shadow-',
  'gshadow',
  'gshadow-',
  'passwd-',
  'group-',
  'subuid-',
  'subgid-',
  '.pwd.lock',
  'machine-id',
  'ssh',
  'munge',
  'ssl/private',
  'krb5.keytab',
  'sssd',
  'sudoers',
  'sudoers.d',
  'libvirt',
  'caddis',
  'ceph',
  'mysql',
  'NetworkManager',
  'wireguard',
  'systemd',
  'init.d',
  'rc0.d',
  'rc1.d',
  'rc2.d',
  'rc3.d',
  'rc4.d',
  'rc5.d',
  'rc6.d',
  'rcS.d',
  'apt',
  'dpkg',
  'cron.d',
  'cron.daily',
  'cron.hourly',
  'cron.monthly',
  'cron.weekly',
  'crontab',
  'udev',
  'kernel',
  'initramfs-tools',
];

/** Parts of /usr that a guest has no use for. */
const HOST_USR_EXCLUDED = ['/usr/lib/firmware', '/usr/src', '/usr/local/src'];

/**
 * Stages what differs from the host (directories, /etc, kernel modules) in `staging`, and says how to run mkfs.erofs so that the host's /usr
 * and /opt appear below it: overlays in a mount namespace of its own, which end with it. Needs root.
 */
export async function stageHost(options: {
  readonly staging: string;
  /** Absolute host paths to leave out. */
  readonly exclude: readonly string[];
  readonly opt: boolean;
  readonly kernel: GuestKernel;
}): Promise<HostRoot> {
  const { staging, kernel } = options;
  if (process.getuid?.() !== 0)
    throw new CaddisError('an image of the host can only be made by root; use --programs or --packages');
  const excluded = [...HOST_USR_EXCLUDED, ...options.exclude].map((path) => path.replace(/\/+$/, ''));
  const upper = join(staging, 'upper');
  const merged = join(staging, 'merged');
  const base = join(staging, 'base');
  for (const path of [upper, merged, base, join(upper, 'usr')])
    await mkdir(path, { recursive: true, mode: 0o755 });
  await addRootModules(upper, kernel);

  const collector = new Collector();
  // Links stay links: one that leads out of /etc must not drag a file of the node into the image.
  collector.addAll('/etc', (path) => isPublic(path) && !isExcluded(path, options.exclude), 'asTheyAre');
  addDirectories(collector.tree);
  addNodeNeutral(collector.tree);
  await writeTree(collector.tree, base);

  const trees = options.opt ? ['/usr', '/opt'] : ['/usr'];
  const secret = await notPublic(trees, options.exclude);
  const exclude = [...excluded, ...secret];
  return {
    prefix: ['unshare', '-m', 'sh', '-ec', MOUNT_SCRIPT, 'caddis-image', upper, base, merged, ...trees, '--'],
    directory: merged,
    exclude: exclude.map((path) => path.slice(1)).sort(),
  };
}

/** The overlays lie over the staged base, which gives everything but the big trees; the guest's modules hide those of the host's kernel. */
const MOUNT_SCRIPT = `
upper=$1 base=$2 merged=$3; shift 3
mount --bind "$base" "$merged"
while [ "$1" != -- ]; do
  if [ -d "$upper$1" ]; then mount -t overlay overlay -o "ro,lowerdir=$upper$1:$1" "$merged$1"
  else mount --bind "$1" "$merged$1"; fi
  shift
done
shift
mount --bind "$upper/usr/lib/modules" "$merged/usr/lib/modules"
exec "$@"`;

function isPublic(path: string): boolean {
  if (HOST_ETC_EXCLUDED.some((name) => path === `/etc/${name}`)) return false;
  const found = lstatSync(path);
  if (found.isDirectory()) return (found.mode & 0o005) === 0o005;
  return found.isSymbolicLink() || (found.isFile() && (found.mode & 0o004) !== 0);
}

function isExcluded(path: string, exclude: readonly string[]): boolean {
  return exclude.some((prefix) => path === prefix || path.startsWith(`${prefix}/`));
}

/** Images are readable by every user of the node, so what only root may read on it must not be in them. */
async function notPublic(trees: readonly string[], exclude: readonly string[]): Promise<string[]> {
  const pruned = exclude.flatMap((path) => ['-path', path, '-prune', '-o']);
  const { stdout } = await execa(
    'find',
    [
      ...trees,
      '-xdev',
      ...pruned,
      '(',
      '-type',
      'd',
      '!',
      '-perm',
      '-005',
      '-prune',
      '-o',
      '-type',
      'f',
      '!',
      '-perm',
      '-004',
      ')',
      '-print0',
    ],
    { timeout: 120_000, maxBuffer: 64 << 20 },
  );
  return stdout.split('\0').filter(Boolean);
}
