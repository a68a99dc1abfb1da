import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { ensureImage } from '../../src/guest/image/ensure.ts';
import { labRecipe } from '../../src/guest/image/lab-image.ts';
import { ImageStore } from '../../src/guest/image/store.ts';
import { helloFrame } from '../../src/guest/protocol/hello.ts';
import { bootsUnder, chooseAcceleration } from '../../src/vm/acceleration.ts';
import { labRoot } from '../lab/layout.ts';

/** The canary against the real kernel: TCG shows that it can say yes, /dev/kvm of this machine whatever is true of it. */
describe('the canary', () => {
  let kernel: string;
  let initrd: string;
  beforeAll(async () => {
    const { directory } = await ensureImage(new ImageStore(join(labRoot, 'images')), labRecipe(), {
      name: 'lab',
    });
    kernel = join(directory, 'vmlinux');
    initrd = join(directory, 'initrd');
  });
  const emulator = '/usr/bin/qemu-system-x86_64';
  const question = helloFrame(0);

  it('boots under TCG, within its deadline', async () => {
    expect(await bootsUnder('tcg', { emulator, question, kernel, initrd, deadlineMs: 60_000 })).toBe(true);
  });

  it('does not take a guest without an agent for a booted one', async () => {
    const began = performance.now();
    expect(
      await bootsUnder('tcg', { emulator, question, kernel, initrd: '/dev/null', deadlineMs: 3_000 }),
    ).toBe(false);
    expect(performance.now() - began).toBeLessThan(20_000);
  });

  it('chooses KVM only where the canary boots in it, and says why', async () => {
    const works = await bootsUnder('kvm', { emulator, question, kernel, initrd, deadlineMs: 3_000 });
    const choice = await chooseAcceleration({
      wanted: 'auto',
      emulator,
      question,
      kernel,
      initrd,
      deadlineMs: 3_000,
    });
    expect(choice.acceleration).toBe(works ? 'kvm' : 'tcg');
    expect(choice.reason).toMatch(works ? /booted/ : /did not boot|no \/dev\/kvm/);
  });
});
