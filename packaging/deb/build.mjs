// Builds caddis_VERSION_amd64.deb into build/: `node packaging/deb/build.mjs`. The same tree gives the same bytes (SOURCE_DATE_EPOCH, root owner).
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
Depends: nodejs (>= 20), libvirt-daemon, libvirt-daemon-driver-qemu, qemu-system-x86, erofs-utils, e2fsprogs, iproute2, nftables, kmod
Description: ${description}
 Caddis runs each job of an existing Slurm or Grid Engine cluster in a minimal
 virtual machine, so that limits are hard and jobs can be frozen, saved and moved.
`;

const tree = await mkdtemp(join(tmpdir(), 'caddis-deb-'));
try {
  await chmod(tree, 0o755); // mkdtemp's 0700 would become the mode of /
  await stage(tree);
  await mkdir(join(tree, 'DEBIAN'));
  await writeFile(join(tree, 'DEBIAN/control'), control);
  execFileSync('find', [tree, '-exec', 'touch', '-h', '-d', `@${epoch}`, '{}', '+']);
  const out = join(root, 'build', `caddis_${version}_amd64.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', '--build', tree, out], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, SOURCE_DATE_EPOCH: epoch },
  });
  console.log(out);
} finally {
  await rm(tree, { recursive: true, force: true });
}
