import { chmod, chown, copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';

import type { LabHost } from './host.ts';
import { hostDirectory, qemuAccount } from './layout.ts';

/** Made anew each time that the lab comes up. */
const REQUEST = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3';
const DH_PARAMETERS = 'genpkey -genparam -algorithm DH -pkeyopt group:ffdhe2048';

/** What docs/moving.md has an admin do: an authority of the site, and of each node one certificate by which libvirtd and QEMU serve, and ask others. */
export async function makeCertificates(root: string, nodes: readonly LabHost[]): Promise<void> {
  const authority = join(root, 'pki');
  await mkdir(authority, { recursive: true, mode: 0o700 });
  await Promise.all([
    openssl(authority, [
      ...REQUEST.split(' '),
      ...['-subj', '/CN=caddis-lab', '-keyout', 'ca.key', '-out', 'ca.pem'],
    ]),
    // Without this file QEMU makes parameters of its own for every machine that arrives: seconds of CPU time (7.2, qcrypto_tls_creds_get_dh_params_file).
    openssl(authority, [...DH_PARAMETERS.split(' '), '-out', 'dh-params.pem']),
  ]);
  await Promise.all(nodes.map((node) => makeNode(authority, node)));
}

async function makeNode(authority: string, node: LabHost): Promise<void> {
  const pki = join(hostDirectory(node.name), 'etc/pki');
  const [cert, key] = [join(authority, `${node.name}.pem`), join(authority, `${node.name}.key`)];
  const names = `subjectAltName=DNS:${node.name},IP:${node.address}`;
  const uses = ['basicConstraints=CA:FALSE', 'extendedKeyUsage=serverAuth,clientAuth', names];
  await openssl(authority, [
    ...REQUEST.split(' '),
    ...['-subj', `/CN=${node.name}`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-keyout', key, '-out', cert],
    ...uses.flatMap((use) => ['-addext', use]),
  ]);
  const ca = join(authority, 'ca.pem');
  await Promise.all(
    ['CA', 'libvirt/private', 'qemu'].map((directory) => mkdir(join(pki, directory), { recursive: true })),
  );
  await Promise.all([
    copyFile(ca, join(pki, 'CA/cacert.pem')),
    copyFile(ca, join(pki, 'qemu/ca-cert.pem')),
    copyFile(join(authority, 'dh-params.pem'), join(pki, 'qemu/dh-params.pem')),
    ...['server', 'client'].flatMap((side) => [
      copyFile(cert, join(pki, `libvirt/${side}cert.pem`)),
      copyKey(key, join(pki, `libvirt/private/${side}key.pem`), 0),
      copyFile(cert, join(pki, `qemu/${side}-cert.pem`)),
      copyKey(key, join(pki, `qemu/${side}-key.pem`), qemuAccount.uid),
    ]),
  ]);
}

async function copyKey(from: string, to: string, owner: number): Promise<void> {
  await copyFile(from, to);
  await chmod(to, 0o400);
  await chown(to, owner, 0);
}

async function openssl(cwd: string, args: readonly string[]): Promise<void> {
  await execa('openssl', args, { cwd, timeout: 20_000, stdin: 'ignore' });
}
