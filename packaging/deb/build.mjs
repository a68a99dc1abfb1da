// Builds caddis_VERSION_amd64.deb into build/ or DIR: `node packaging/deb/build.mjs [DIR]`. The same tree gives the same bytes (SOURCE_DATE_EPOCH, root owner).
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { stage } from '../stage.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const { version, description } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
const epoch =
  process.env.SOURCE_DATE_EPOCH ??
  execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' }).trim();

const control = `Package: caddis
Version: ${version}
Architecture: amd64
Maintainer: The Caddis team
Section: admin
Priority: optional
Depends: nodejs (>= 20), libvirt-daemon-system, libvirt-daemon-driver-qemu, qemu-system-x86, qemu-utils, erofs-utils, e2fsprogs, iproute2, nftables, kmod, zstd, xz-utils, lz4
Description: ${description}
 Caddis runs each job of an existing Slurm or Grid Engine cluster in a minimal
 virtual machine, so that limits are hard and jobs can be frozen, saved and moved.
`;

const tree = await mkdtemp(join(tmpdir(), 'caddis-deb-'));
try {
  await chmod(tree, 0o755); // mkdtemp's 0700 would become the mode of /
  await stage(tree, new Date(epoch * 1000).toISOString().slice(0, 10));
  // dpkg-deb takes no other, whatever the umask.
  await mkdir(join(tree, 'DEBIAN'));
  await chmod(join(tree, 'DEBIAN'), 0o755);
  await writeFile(join(tree, 'DEBIAN/control'), control);
  await chmod(join(tree, 'DEBIAN/control'), 0o644);
  execFileSync('find', [tree, '-exec', 'touch', '-h', '-d', `@${epoch}`, '{}', '+']);
  const out = join(process.argv[2] ?? join(root, 'build'), `caddis_${version}_amd64.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', '--build', tree, out], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, SOURCE_DATE_EPOCH: epoch },
  });
  console.log(out);
} finally {
  await rm(tree, { recursive: true, force: true });
}
