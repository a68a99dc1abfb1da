import { once } from 'node:events';
import { chmod, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { execa } from 'execa';

import { hookClient } from '../lab/caddisd.ts';
import type { Lab } from '../lab/host.ts';
import { on } from '../lab/process.ts';

const PORT_NAME = 'bench.raw';
const DEADLINE_MS = 110_000;
/** The driver takes at most this much of a write(2) (drivers/char/virtio_console.c, port_fops_write). */
const WRITE_BYTES = 32_768;
const CHILD = fileURLToPath(new URL('raw-port-child.mjs', import.meta.url));

export interface RawPort {
  /** Seconds until this many bytes from the guest have arrived. */
  receive(bytes: number): Promise<number>;
  /** The same with a pipe between the producer and who writes to the port: no agent can do without one. */
  receivePiped(bytes: number): Promise<number>;
  /** Seconds until the guest has read this many bytes. */
  send(bytes: number): Promise<number>;
}

/**
 * Plugs one more virtio-serial port into a job's machine for as long as `use` lasts; dd uses the guest's end, as root through caddisd; the
 * host's end is used on the node, where caddisd and caddis-hook run too.
 */
export async function withRawPort<T>(
  lab: Lab,
  { node, job }: { node: string; job: string },
  use: (port: RawPort) => Promise<T>,
): Promise<T> {
  const host = lab.nodes.find(({ name }) => name === node);
  if (!host) throw new Error(`no node ${node} in the lab`);
  const status = JSON.parse(await on(host, [hookClient, 'status'])) as {
    machines: { job: string; machine: string }[];
  };
  const machine = status.machines.find((of) => of.job === `slurm-${job}`)?.machine;
  if (!machine) throw new Error(`slurm-${job} has no machine on ${node}`);
  const dir = await mkdtemp(join(await realpath(tmpdir()), 'caddis-raw-'));
  await chmod(dir, 0o777);
  const xml = join(dir, 'port.xml');
  const path = join(dir, 'port');
  await writeFile(
    xml,
    `<channel type='unix'><source mode='bind' path='${path}'/><target type='virtio' name='${PORT_NAME}'/></channel>`,
  );
  const virsh = (verb: string) =>
    on(host, ['virsh', '-q', '-c', 'qemu:///system', verb, machine, xml, '--live']);
  await virsh('attach-device');
  try {
    const guest = (script: string) =>
      on(host, [hookClient, 'shell', `slurm-${job}`, 'bash', '-c', `${FIND_PORT}; ${script}`], {
        timeoutMs: DEADLINE_MS,
      });
    const transfer = async (direction: 'receive' | 'send', bytes: number, script: string) => {
      const [file, ...args] = [...host.prefix, process.execPath, CHILD, path, direction, String(bytes)];
      const child = execa(file as string, args, { timeout: DEADLINE_MS, stdin: 'ignore' });
      child.catch(() => undefined);
      if (child.stdout) await once(child.stdout, 'data');
      await guest(script);
      return Number((await child).stdout.split('\n').at(-1));
    };
    return await use({
      receive: (bytes) => transfer('receive', bytes, `${produce(bytes)} > $dev`),
      receivePiped: (bytes) =>
        transfer('receive', bytes, `${produce(bytes)} | dd bs=${WRITE_BYTES} status=none > $dev`),
      send: (bytes) =>
        transfer(
          'send',
          bytes,
          `exec 3<> $dev; printf R >&3; dd of=/dev/null bs=${WRITE_BYTES} count=${bytes} iflag=fullblock,count_bytes status=none <&3; printf R >&3`,
        ),
    });
  } finally {
    await virsh('detach-device').catch(() => undefined);
    await rm(dir, { recursive: true, force: true });
  }
}

/** The same producer for every path, so that it does not count in their ratio: this many zeros, in writes of the size that the port's driver takes at once. */
export function produce(bytes: number): string {
  return `dd if=/dev/zero bs=${WRITE_BYTES} count=${bytes} iflag=count_bytes status=none`;
}

/** udev is not there: the port's name is in sysfs, its device node in devtmpfs. */
const FIND_PORT = `for p in /sys/class/virtio-ports/*; do [ "$(cat $p/name)" = ${PORT_NAME} ] && dev=/dev/\${p##*/}; done; [ -n "$dev" ] || { echo "no port ${PORT_NAME}" >&2; exit 1; }`;
