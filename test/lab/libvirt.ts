import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { startDaemon, untilReady } from './daemons.ts';
import type { LabHost } from './host.ts';
import { hostDirectory, nodeNames, qemuAccount } from './layout.ts';
import { on } from './process.ts';

/** Starts libvirtd on a node, with QEMU unprivileged; ready when it answers. First start ~1 s (probes QEMU), later less. */
export async function startLibvirtd(node: LabHost): Promise<void> {
  const etc = join(hostDirectory(node.name), 'etc/libvirt');
  await mkdir(etc, { recursive: true });
  await writeFile(join(etc, 'qemu.conf'), qemuConf);
  await writeFile(join(etc, 'libvirtd.conf'), libvirtdConf(node, await hostUuid(node)));
  // Under a subreaper: see subreaper.c. It stays with the node's QEMUs when libvirtd is killed.
  await startDaemon(node, 'libvirtd', ['libvirtd', '--listen', '-p', '/run/libvirt/libvirtd.pid'], {
    reapOrphans: true,
  });
  const answers = async () => (await on(node, ['virsh', '-c', uri, 'version'], { timeoutMs: 10_000 })) !== '';
  await untilReady(node, 'libvirtd', answers, 20_000);
}

const uri = 'qemu:///system';

/** dynamic_ownership as a site has it by default; the rest is what facts/vm.md found for libvirtd without systemd. */
const qemuConf = `user = "${qemuAccount.name}"
group = "kvm"
security_driver = "none"
dynamic_ownership = 1
remember_owner = 0
namespaces = [ ]
stdio_handler = "file"
max_core = 0
save_image_format = "raw"
keepalive_interval = 5
keepalive_count = 3
cgroup_controllers = [ "cpu", "devices", "memory", "blkio", "cpuset", "cpuacct" ]
`;

/**
 * Nodes reach each other by TLS, as on a site (pki.ts). Plain tcp without authentication is for benches and for whoever looks: it exists in the lab's own network namespaces only.
 */
function libvirtdConf(node: LabHost, uuid: string): string {
  return `listen_tls = 1
auth_tls = "none"
tls_allowed_dn_list = [ ${nodeNames.map((name) => `"CN=${name}"`).join(', ')} ]
listen_tcp = 1
listen_addr = "${node.address}"
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_dir = "/run/libvirt"
host_uuid = "${uuid}"
keepalive_interval = 5
keepalive_count = 3
log_outputs = "2:stderr"
`;
}

/** One uuid per host that stays: two libvirtd with the machine's own uuid refuse to migrate to each other. */
async function hostUuid(node: LabHost): Promise<string> {
  const file = join(hostDirectory(node.name), 'host-uuid');
  const kept = await readFile(file, 'utf8').catch(() => '');
  if (kept !== '') return kept;
  const uuid = (await readFile('/proc/sys/kernel/random/uuid', 'utf8')).trim();
  await writeFile(file, uuid);
  return uuid;
}
