import { userInfo } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';

import type { Config } from '../config/schema.ts';
import { ImageStore } from '../guest/image/store.ts';
import { helloFrame } from '../guest/protocol/hello.ts';
import { CaddisError } from '../model/errors.ts';
import { chooseAcceleration } from '../vm/acceleration.ts';
import { nodeCapacity } from '../vm/capacity.ts';
import type { NodeContext } from './start-machine.ts';

/** How long a canary guest may take to boot under KVM. */
const CANARY_DEADLINE_MS = 5_000;

/** What a look at the node finds: the shape of its machines, and why it is so. */
export interface Look {
  readonly found: Omit<NodeContext, 'hypervisor' | 'connectGuest' | 'checkpoints' | 'heldByBorrowers'>;
  readonly imageId: string;
  readonly accelerationReason: string;
}

/** Finds image, acceleration and capacity. Throws what is missing and what to do. */
export async function look(config: Config): Promise<Look> {
  const image = await new ImageStore(config.vm.images_dir).find(config.vm.image);
  const kernel = join(image.directory, 'vmlinux');
  const initrd = join(image.directory, 'initrd');
  const { acceleration, reason } = await chooseAcceleration({
    wanted: config.vm.acceleration,
    emulator: config.vm.emulator,
    kernel,
    initrd,
    // Any HELLO is echoed by an agent that is alive.
    question: helloFrame(0),
    deadlineMs: CANARY_DEADLINE_MS,
  });
  const capacity = nodeCapacity({
    cpusMax: config.vm.cpus_max,
    memoryMaxBytes: config.vm.memory_max,
    reserveBytes: config.vm.reserve_memory,
  });
  return {
    imageId: image.id,
    accelerationReason: reason,
    found: {
      config,
      acceleration,
      capacity,
      qemuOwner: await account(config.vm.qemu_user),
      shape: {
        acceleration,
        emulator: config.vm.emulator,
        machine: config.vm.machine,
        kernel,
        initrd,
        root: join(image.directory, 'root.erofs'),
        baseMemoryBytes: config.vm.base_memory,
        maxMemoryBytes: capacity.memoryBytes,
        maxCpus: capacity.cpus,
        extraKernelArguments: config.vm.extra_kernel_arguments,
      },
    },
  };
}

async function account(name: string): Promise<{ uid: number; gid: number }> {
  if (name === userInfo().username) return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  try {
    const { stdout } = await execa('getent', ['passwd', name], { timeout: 10_000, stdin: 'ignore' });
    const [, , uid, gid] = stdout.split(':');
    return { uid: Number(uid), gid: Number(gid) };
  } catch (error) {
    throw new CaddisError(`vm.qemu_user "${name}" is no account of this node`, { cause: error });
  }
}
