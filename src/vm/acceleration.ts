import { spawn } from 'node:child_process';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Acceleration } from './shape.ts';

export interface AccelerationChoice {
  readonly acceleration: Acceleration;
  /** Why: for the log and `caddis status`. */
  readonly reason: string;
}

/**
 * KVM only where a guest really boots in it: /dev/kvm may exist, be offered by libvirt, and hang every kernel (seen on the machines that the facts were measured on).
 * The canary is the real kernel and initrd with a deadline; it has booted when caddis-init opens its control port.
 */
export async function chooseAcceleration(options: {
  readonly wanted: 'auto' | 'kvm' | 'tcg';
  readonly emulator: string;
  readonly kernel: string;
  readonly initrd: string;
  /** What the guest's agent is asked; any answer counts. */
  readonly question: Buffer;
  /** How long the canary may take; a stock kernel under KVM needs well below a second. */
  readonly deadlineMs: number;
}): Promise<AccelerationChoice> {
  if (options.wanted !== 'auto') return { acceleration: options.wanted, reason: 'set in caddis.toml' };
  const missing = await access('/dev/kvm').then(
    () => undefined,
    () => 'there is no /dev/kvm',
  );
  if (missing) return { acceleration: 'tcg', reason: `${missing}: machines are emulated and slow` };
  const booted = await bootsUnder('kvm', options);
  return booted
    ? { acceleration: 'kvm', reason: 'a canary guest booted in /dev/kvm' }
    : {
        acceleration: 'tcg',
        reason: `/dev/kvm exists but a canary guest did not boot in it within ${options.deadlineMs} ms: machines are emulated and slow`,
      };
}

/** Whether a guest's agent answers within the deadline under this acceleration. */
export async function bootsUnder(
  acceleration: Acceleration,
  options: { emulator: string; kernel: string; initrd: string; question: Buffer; deadlineMs: number },
): Promise<boolean> {
  const dir = await mkdtemp(join(tmpdir(), 'caddis-canary-'));
  const socket = join(dir, 'ctl');
  const cpu = acceleration === 'kvm' ? 'host' : 'qemu64';
  const words = [
    `-machine q35,accel=${acceleration} -cpu ${cpu} -m 256 -nodefaults -no-user-config -display none`,
    // The agent waits for both of its ports.
    '-device virtio-serial-pci -device virtserialport,chardev=c,name=caddis.ctl',
    '-chardev null,id=b -device virtserialport,chardev=b,name=caddis.bulk',
  ].flatMap((line) => line.split(' '));
  const files = ['-kernel', options.kernel, '-initrd', options.initrd, '-append', 'quiet panic=-1'];
  const port = ['-chardev', `socket,id=c,path=${socket},server=on,wait=off`];
  const qemu = spawn(options.emulator, [...files, ...port, ...words], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => {
    qemu.once('exit', () => resolve());
    qemu.once('error', () => resolve());
  });
  try {
    return await Promise.race([guestAnswers(socket, options), ended.then(() => false)]);
  } finally {
    qemu.kill('SIGKILL');
    await ended;
    await rm(dir, { recursive: true, force: true });
  }
}

/** The guest's agent reads what is written to its port; QEMU's socket accepts at once, so only an echo counts. Any HELLO is echoed. */
async function guestAnswers(
  path: string,
  { question, deadlineMs }: { question: Buffer; deadlineMs: number },
): Promise<boolean> {
  const deadline = performance.now() + deadlineMs;
  while (performance.now() < deadline) {
    const answered = await new Promise<boolean>((resolve) => {
      const port = connect(path);
      const timer = setTimeout(() => port.destroy(), 300);
      port.once('connect', () => port.write(question));
      port.once('data', () => resolve(true));
      port.once('error', () => resolve(false));
      port.once('close', () => {
        clearTimeout(timer);
        resolve(false);
      });
      port.once('data', () => port.destroy());
    });
    if (answered) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}
