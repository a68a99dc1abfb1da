import { statSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureImage } from '../../src/guest/image/ensure.ts';
import { labRecipe } from '../../src/guest/image/lab-image.ts';
import { showProgress } from '../../src/guest/image/progress.ts';
import { ImageStore } from '../../src/guest/image/store.ts';
import { recordedDaemons, startDaemon, stopDaemon, untilReady } from './daemons.ts';
import { cellOf } from './gridengine/cell.ts';
import { waitForNodes } from './gridengine/daemons.ts';
import type { Lab, LabHost } from './host.ts';
import { network, qemuAccount, repository } from './layout.ts';
import type { LabCaddisd } from './parts.ts';
import { on } from './process.ts';
import { clusterOf, shadowOf, slurmdSpool } from './slurm/cluster.ts';

const NAME = 'caddisd';
const BUNDLE = join(repository, 'dist/caddisd.cjs');
export const hookClient = join(repository, 'build/caddis-hook');

/** caddisd on every node of the lab, with the lab's image, its bridge and the home directories over NFS. */
export const caddisd: LabCaddisd = {
  async start(lab) {
    await ensureImage(new ImageStore(imagesOf(lab)), labRecipe(), {
      name: 'lab',
      progress: showProgress(process.stderr),
    });
    await Promise.all(lab.nodes.map((host) => startOn(lab, host)));
    // A job that is submitted at once shall start at once: the load sensor has told the qmaster.
    const hasGridEngine = (await recordedDaemons()).some(({ name }) => name === 'sge_qmaster');
    if (hasGridEngine) await waitForNodes(lab, cellOf(lab));
  },

  async stop(lab) {
    await Promise.all(lab.nodes.map((host) => stopDaemon(host.name, NAME)));
  },
};

/** Starts caddisd on one host; returns when its root socket answers. `extra` is more TOML, for tests of single settings; `env` goes on top of this process's. */
export async function startOn(
  lab: Lab,
  host: LabHost,
  extra = '',
  env: Record<string, string> = {},
): Promise<void> {
  const path = configPath(lab, host);
  const scratch = join(lab.paths.root, 'scratch', host.name);
  await mkdir(scratch, { recursive: true });
  // As caddisd makes it where it is not there yet: nobody lists the names of others' machines.
  await chmod(scratch, 0o711);
  await mkdir(stagingOf(lab, host), { recursive: true, mode: 0o700 });
  await writeFile(path, mergeTables(configText(lab, host), extra));
  await startDaemon(host, NAME, [process.execPath, BUNDLE, '--config', path], { env });
  await untilReady(host, NAME, () => answers(host), 30_000);
}

/** Stops caddisd on one host, by TERM or KILL; its machines stay. */
export async function stopOn(host: LabHost, signal: 'TERM' | 'KILL' = 'TERM'): Promise<void> {
  if (signal === 'TERM') return stopDaemon(host.name, NAME);
  const daemon = (await recordedDaemons()).find((d) => d.host === host.name && d.name === NAME);
  if (daemon?.alive) process.kill(daemon.pid, 'SIGKILL');
  await stopDaemon(host.name, NAME);
}

function configPath(lab: Lab, host: LabHost): string {
  return join(lab.paths.run, `${host.name}-caddis.toml`);
}

/** In memory, and each node's own: caddisd removes what it finds there of machines that it does not have, and another lab on this machine may have the same memory. */
export function stagingOf(lab: Lab, host: LabHost): string {
  return `/dev/shm/caddis-lab-${statSync(lab.paths.root).ino}-${host.name}`;
}

export function imagesOf(lab: Lab): string {
  return join(lab.paths.root, 'images');
}

async function answers(host: LabHost): Promise<boolean> {
  await on(host, [hookClient, '--connect-timeout', '0', 'status'], { timeoutMs: 5000 });
  return true;
}

/** TOML refuses a table that is opened twice: lines of `extra` go into the table that is there. */
function mergeTables(base: string, extra: string): string {
  let text = base;
  for (const [, name, body] of extra.matchAll(/^\[([\w.]+)\]\n([^[]*)/gm)) {
    for (const line of (body as string).split('\n').filter(Boolean)) {
      const key = line.split('=')[0]?.trim() as string;
      const table = new RegExp(`(^\\[${name}\\]\\n)((?:[^[].*\\n)*)`, 'm');
      if (!table.test(text)) text += `[${name}]\n`;
      text = text.replace(table, (_, head: string, rest: string) => {
        const kept = rest.split('\n').filter((old) => old.split('=')[0]?.trim() !== key);
        return `${head}${line}\n${kept.join('\n')}`;
      });
    }
  }
  return text;
}

/** The hosts see the home directories without a cache in between; jobs that wait for a file of a test shall not wait for half a minute. */
const NFS_OPTIONS =
  'vers=4.2,hard,proto=tcp,timeo=50,lookupcache=positive,acregmin=1,acregmax=3,acdirmin=1,acdirmax=3';

/** Of machines of the lab. As on most nodes, beside the base machine no whole blocks of 128 MiB, in which Linux counts memory. */
export const MEMORY_MAX_MIB = 6_100;

function configText(lab: Lab, host: LabHost): string {
  const cell = cellOf(lab);
  const sge = Object.entries(cell.environment)
    .map(([name, value]) => `${name} = "${value}"`)
    .join(', ');
  return `# Written by the lab.
log_level = "debug"
state_dir = "${lab.paths.root}/state/${host.name}"
[vm]
image = "lab"
images_dir = "${imagesOf(lab)}"
qemu_user = "${qemuAccount.name}"
reserve_memory = "512M"
cpus_max = 4
memory_max = "${MEMORY_MAX_MIB}M"
acceleration = "tcg"
[scratch]
dir = "${lab.paths.root}/scratch/${host.name}"
size = "2G"
[network]
mode = "bridge"
bridge = "${network.bridge}"
range = "${network.vmRange.first}-${network.vmRange.last}"
prefix_length = ${network.prefixLength}
gateway = "${lab.head.address}"
claims_dir = "${lab.paths.root}/addresses"
[storage]
auto = false
lease = 20
[[storage.mount]]
type = "nfs4"
source = "${lab.head.address}:${lab.paths.home}"
target = "${lab.paths.home}"
options = "addr=${lab.head.address},${NFS_OPTIONS}"
[libvirt]
peer_uri = "qemu+tls://{host}/system"
[checkpoint]
park = 20
dir = "${lab.paths.store}"
staging_dir = "${stagingOf(lab, host)}"
heartbeat = 3
lease = 15
[policy]
native = ["native", "native.q"]
allow_off = ["main"]
[pressure]
scavenge = ["scavenge", "scavenge.q"]
[slurm]
publish_interval = 6
${clusterOf(lab).scavenge === 'shadow' ? `scavenge_node = "${shadowOf('{host}')}"\n` : ''}spool_dir = "${slurmdSpool}"
[gridengine]
bin_dir = "/usr/bin"
spool_dir = "${cell.execdSpool}"
environment = { ${sge} }
`;
}
