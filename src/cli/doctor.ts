import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';
import type { CommandModule } from 'yargs';

import { DEFAULT_CONFIG_PATH, loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { ImageStore } from '../guest/image/store.ts';
import { Libvirt } from '../libvirt/index.ts';
import { CaddisError, messageOf } from '../model/errors.ts';
import type { Finding } from '../model/finding.ts';
import { formatBytes } from '../model/units.ts';
import { createRunCommand as runGridEngine } from '../scheduler/gridengine/commands.ts';
import { examineGridEngine } from '../scheduler/gridengine/doctor.ts';
import { createRunCommand as runSlurm } from '../scheduler/slurm/commands.ts';
import { examineSlurm } from '../scheduler/slurm/doctor.ts';
import { guestMounts } from '../vm/host-mounts.ts';
import { askPeer, peerUri } from '../vm/peer.ts';
import { stagingHasRoom, storeClock, storeHasRoom, storeWorks } from './doctor-store.ts';
import { fail, ok, warn } from './finding.ts';
import { askDaemon } from './hook.ts';
import { table } from './table.ts';

const ASK_MS = 10_000;

export const doctorCommand: CommandModule<object, { json: boolean; config: string }> = {
  command: 'doctor',
  describe: 'looks at all that a machine on this node depends on',
  builder: (yargs) =>
    yargs
      .option('json', { type: 'boolean', default: false, describe: 'one JSON array' })
      .option('config', { type: 'string', default: DEFAULT_CONFIG_PATH, describe: 'caddis.toml' }),
  handler: async ({ json, config: path }) => {
    // It would say of each part that it may not look.
    if (process.getuid?.() !== 0)
      throw new CaddisError('it takes root to look at all this: run "caddis doctor" as root');
    const config = loadConfig(path);
    const findings = await examine(config);
    if (json) console.log(JSON.stringify(findings));
    else
      console.log(
        table(
          ['check', 'verdict', 'found'],
          findings.map((f) => [f.check, f.verdict, f.found.replace(/\s*\n\s*/g, '; ')]),
        ),
      );
    if (findings.some(({ verdict }) => verdict === 'fail')) process.exitCode = 1;
  },
};

async function examine(config: Config): Promise<Finding[]> {
  const checks: readonly [string, (config: Config) => Promise<Omit<Finding, 'check'>>][] = [
    ['caddisd', daemonAnswers],
    ['libvirt', libvirtAnswers],
    ['hand-over', peersMayAsk],
    ['image', imageIsThere],
    ['kvm device', kvmDevice],
    ['bridge', bridgeIsThere],
    ['spoofing filter', filterWorks],
    ['scratch', scratchHasRoom],
    ['storage', networkMounts],
    ['store', storeWorks],
    ['store room', storeHasRoom],
    ['store clock', storeClock],
    ['staging', stagingHasRoom],
  ];
  const [parts, schedulers] = await Promise.all([
    Promise.all(
      checks.map(async ([check, look]) => ({
        check,
        ...(await look(config).catch((error: unknown) => fail(messageOf(error)))),
      })),
    ),
    Promise.all([slurm(config), gridEngine(config)]),
  ]);
  return [...parts, ...schedulers.flat()];
}

/** A controller that is away is the site's matter, not this node's. */
async function slurm({ slurm: { enabled, bin_dir: binDir, environment } }: Config): Promise<Finding[]> {
  if (!enabled) return [];
  return examineSlurm(runSlurm(binDir, environment), AbortSignal.timeout(ASK_MS)).catch((error: unknown) => [
    { check: 'slurm', ...warn(messageOf(error)) },
  ]);
}

async function gridEngine({
  gridengine: { enabled, bin_dir: binDir, environment },
}: Config): Promise<Finding[]> {
  if (!enabled) return [];
  const host = hostname().split('.')[0] as string;
  return examineGridEngine(host, runGridEngine(binDir, environment), AbortSignal.timeout(ASK_MS)).catch(
    (error: unknown) => [{ check: 'gridengine', ...warn(messageOf(error)) }],
  );
}

async function daemonAnswers() {
  const { health, acceleration, acceleration_reason: why } = JSON.parse(await askDaemon('status'));
  if (health !== 'ok') return fail(`answers, but the node is out of service: ${health}`);
  return acceleration === 'kvm'
    ? ok(`answers; kvm (${why})`)
    : warn(`answers; machines are emulated: ${why}`);
}

async function libvirtAnswers({ libvirt }: Config) {
  const connection = await Libvirt.open(libvirt.uri, { endpoint: { kind: 'unix', path: libvirt.socket } });
  try {
    const versions = await connection.version();
    return ok(`libvirt ${versions.libvirt}, QEMU ${versions.hypervisor}`);
  } finally {
    await connection.close();
  }
}

/** By the way that other nodes take, with the certificate that this node shows them. */
async function peersMayAsk({ libvirt }: Config) {
  const uri = peerUri(libvirt.peer_uri, hostname());
  if (uri === undefined) return ok('machines go by the store (libvirt.peer_uri)');
  const { ca_file: ca, cert_file: cert, key_file: key } = libvirt;
  return askPeer(uri, { ca, cert, key }).then(
    () => ok(`other nodes may ask ${uri}`),
    (error: unknown) =>
      warn(
        `${uri}: ${messageOf(error)}: machines that move are restored from the store (docs/moving.md, "TLS between nodes")`,
      ),
  );
}

async function imageIsThere({ vm }: Config) {
  const image = await new ImageStore(vm.images_dir).find(vm.image);
  await Promise.all(
    ['vmlinux', 'initrd', 'root.erofs'].map((file) => access(join(image.directory, file), constants.R_OK)),
  );
  return ok(`${vm.image} is ${image.id.slice(0, 12)}`);
}

/** Where QEMU's user may not open /dev/kvm, libvirt probes QEMU anew for every machine (docs/decisions/0004). */
async function kvmDevice({ vm }: Config) {
  const device = await stat('/dev/kvm').catch(() => undefined);
  if (!device) return warn('there is no /dev/kvm: machines are emulated and slow');
  const { exitCode } = await execa(
    'setpriv',
    ['--reuid', vm.qemu_user, '--regid', vm.qemu_user, '--init-groups', 'test', '-w', '/dev/kvm'],
    {
      reject: false,
      timeout: 5_000,
      stdin: 'ignore',
    },
  );
  if (exitCode === 0) return ok(`${vm.qemu_user} may open it`);
  return warn(
    `${vm.qemu_user} may not open /dev/kvm: every start takes seconds longer; put it into the device's group`,
  );
}

async function bridgeIsThere({ network }: Config) {
  if (network.mode === 'none') return warn('network.mode is "none": machines have no network');
  await access(`/sys/class/net/${network.bridge}/bridge`);
  if (network.range === undefined) return fail('network.range is not set');
  await access(network.claims_dir, constants.W_OK);
  return ok(`${network.bridge}, addresses ${network.range}`);
}

async function filterWorks({ network }: Config) {
  if (network.mode === 'none') return ok('not needed');
  await execa('/usr/sbin/nft', ['list', 'table', 'bridge', 'caddis'], { timeout: 5_000, stdin: 'ignore' });
  return ok('nftables table "bridge caddis" is in place');
}

async function scratchHasRoom({ scratch }: Config) {
  await access(scratch.dir, constants.W_OK);
  const { bavail, bsize } = await statfs(scratch.dir);
  const free = bavail * bsize;
  const text = `${formatBytes(free)} free in ${scratch.dir}, ${formatBytes(scratch.size)} for a job that does not ask`;
  return free < scratch.size ? warn(text) : ok(text);
}

async function networkMounts({ storage }: Config) {
  const mounts = await guestMounts(storage);
  if (mounts.length === 0)
    return warn('no network file system: jobs see none of their files inside machines');
  return ok(mounts.map(({ type, target }) => `${target} (${type})`).join(', '));
}
