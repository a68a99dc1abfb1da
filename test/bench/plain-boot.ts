import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageStore } from '../../src/guest/image/store.ts';
import { GuestLink } from '../../src/guest/link.ts';
import { domainXml } from '../../src/vm/shape.ts';
import { hostTscKhz } from '../../src/vm/time-stamp-counter.ts';
import { imagesOf } from '../lab/caddisd.ts';
import type { Lab } from '../lab/host.ts';

const DEADLINE_MS = 60_000;
/** The lab's base shape (its caddis.toml leaves the default). */
const MEMORY_MIB = 256;

/**
 * Milliseconds from starting a plain `qemu-system-x86_64` on a lab node to the agent's answer: the lab image's kernel, initramfs and root, caddisd's kernel command line and
 * agent ports, and nothing of libvirt, hotplug or hot-plug ports. TCG, as the lab's machines.
 */
export async function plainBoot(lab: Lab, node: string): Promise<number> {
  const host = lab.nodes.find(({ name }) => name === node);
  if (!host) throw new Error(`no node ${node} in the lab`);
  const image = await new ImageStore(imagesOf(lab)).find('lab');
  const dir = await mkdtemp(join(await realpath(tmpdir()), 'caddis-plain-'));
  await chmod(dir, 0o755);
  const files = {
    kernel: join(image.directory, 'vmlinux'),
    initrd: join(image.directory, 'initrd'),
    root: join(image.directory, 'root.erofs'),
  };
  const [file, ...args] = [...host.prefix, 'qemu-system-x86_64', ...(await qemuArguments(files, dir))];
  const began = performance.now();
  const qemu = spawn(file as string, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  qemu.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4000);
  });
  const ended = once(qemu, 'exit');
  const link = new GuestLink({ controlPath: join(dir, 'ctl'), bulkPath: join(dir, 'bulk') });
  try {
    link.open();
    await Promise.race([
      link.ready({ timeoutMs: DEADLINE_MS }),
      ended.then(() => {
        throw new Error(`plain QEMU ended: ${errors}`);
      }),
    ]);
    return performance.now() - began;
  } finally {
    link.close();
    qemu.kill('SIGKILL');
    await ended;
    await rm(dir, { recursive: true, force: true });
  }
}

async function qemuArguments(
  files: { kernel: string; initrd: string; root: string },
  dir: string,
): Promise<string[]> {
  return [
    ...['-machine', 'q35,accel=tcg', '-cpu', 'qemu64', '-m', String(MEMORY_MIB), '-smp', '1'],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-kernel', files.kernel, '-initrd', files.initrd, '-append', await kernelArguments(files)],
    ...[
      '-drive',
      `file=${files.root},format=raw,if=none,id=root,readonly=on`,
      '-device',
      'virtio-blk-pci,drive=root',
    ],
    ...['-device', 'virtio-serial-pci', '-chardev', `file,id=console,path=${join(dir, 'console')}`],
    ...['-device', 'virtconsole,chardev=console'],
    ...['ctl', 'bulk'].flatMap((port) => [
      ...['-chardev', `socket,id=${port},path=${join(dir, port)},server=on,wait=off`],
      ...['-device', `virtserialport,chardev=${port},name=caddis.${port}`],
    ]),
  ];
}

/** caddisd's own command line, so that the two boots differ in the machine alone. */
async function kernelArguments(files: { kernel: string; initrd: string; root: string }): Promise<string> {
  const xml = domainXml(
    {
      ...files,
      acceleration: 'tcg',
      emulator: 'qemu-system-x86_64',
      machine: 'q35',
      baseMemoryBytes: MEMORY_MIB << 20,
      maxMemoryBytes: MEMORY_MIB << 20,
      maxCpus: 1,
      tscKhz: await hostTscKhz(),
      extraKernelArguments: '',
    },
    { name: 'plain', uuid: '', controlSocket: '', bulkSocket: '', consoleLog: '', metadata: '' },
  );
  const cmdline = /<cmdline>(.*)<\/cmdline>/.exec(xml)?.[1];
  if (!cmdline) throw new Error('src/vm/shape.ts writes no <cmdline> any more');
  return cmdline;
}
