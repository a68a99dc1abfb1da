import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { execa } from 'execa';

import type { Lab, LabHost } from './host.ts';
import { on, until } from './process.ts';

const repository = join(dirname(fileURLToPath(import.meta.url)), '../..');

/** caddisd on every node of the lab, with the lab's image, its bridge and the home directories over NFS. */
export const caddisd = {
  async start(lab: Lab): Promise<void> {
    await Promise.all(lab.nodes.map((host) => startOn(lab, host)));
  },

  async stop(lab: Lab): Promise<void> {
    await Promise.all(lab.nodes.map((host) => stopOn(lab, host)));
  },
};

/** Starts caddisd on one host; returns when its hook socket answers. */
export async function startOn(lab: Lab, host: LabHost): Promise<void> {
  const dir = join(lab.paths.run, `${host.name}-caddis`);
  await mkdir(dir, { recursive: true });
  const configPath = join(dir, 'caddis.toml');
  const overrides = await readFile(join(dir, 'overrides.toml'), 'utf8').catch(() => '');
  await writeFile(configPath, `${configText(lab)}\n${overrides}`);
  const out = openSync(join(lab.paths.logs, `${host.name}-caddisd.log`), 'a');
  try {
    const [file, ...prefix] = [
      ...host.prefix,
      process.execPath,
      join(repository, 'dist/caddisd.cjs'),
      '--config',
      configPath,
    ];
    const child = execa(file as string, prefix, {
      stdin: 'ignore',
      stdout: out,
      stderr: out,
      detached: true,
      cleanup: false,
      reject: false,
      cwd: '/',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      extendEnv: false,
    });
    child.unref();
    await until(
      `caddisd on ${host.name} (see ${lab.paths.logs}/${host.name}-caddisd.log)`,
      async () =>
        (await on(host, ['cat', '/run/caddis/caddisd.pid']).catch(() => '')).trim() !== '' &&
        (await answers(host)),
      { timeoutMs: 20_000 },
    );
  } finally {
    closeSync(out);
  }
}

/** Stops caddisd on one host as a package would: TERM, and its machines stay. */
export async function stopOn(_lab: Lab, host: LabHost, signal: 'TERM' | 'KILL' = 'TERM'): Promise<void> {
  const pid = (await on(host, ['cat', '/run/caddis/caddisd.pid']).catch(() => '')).trim();
  if (!/^\d+$/.test(pid)) return;
  const isOurs = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (!isOurs.includes('caddisd.cjs')) return;
  process.kill(Number(pid), `SIG${signal}`);
  await until(`caddisd ${pid} to end`, async () =>
    (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ' Z ')).includes(' Z '),
  );
}

async function answers(host: LabHost): Promise<boolean> {
  return on(host, [join(repository, 'build/caddis-hook'), '--connect-timeout', '1', 'status'], {
    timeoutMs: 3000,
  }).then(
    () => true,
    () => false,
  );
}

function configText(lab: Lab): string {
  return `# Written by the lab.
log_level = "debug"
[vm]
image = "lab"
images_dir = "${lab.paths.root}/images"
reserve_memory = "512M"
cpus_max = 4
memory_max = "6G"
acceleration = "tcg"
[scratch]
size = "2G"
[network]
mode = "bridge"
bridge = "br0"
range = "10.77.0.100-10.77.0.199"
prefix_length = 24
gateway = "10.77.0.1"
claims_dir = "${lab.paths.store}/addresses"
[storage]
auto = false
[[storage.mount]]
type = "nfs4"
source = "${lab.head.address}:${lab.paths.home}"
target = "${lab.paths.home}"
options = "addr=${lab.head.address},vers=4.2,hard,proto=tcp,timeo=50"
[policy]
native = ["native", "native.q"]
allow_off = ["main"]
`;
}
