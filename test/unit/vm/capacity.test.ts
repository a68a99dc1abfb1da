import { describe, expect, it } from 'vitest';

import { admitMemory, memAvailableBytes } from '../../../src/vm/capacity.ts';

const GiB = 1024 ** 3;

describe('admitMemory', () => {
  it('refuses what the kernel cannot give, unless others give as much back', async () => {
    const needed = (await memAvailableBytes()) + 2 * GiB;
    await expect(admitMemory(needed, 0, 0)).rejects.toThrow('not enough memory on this node');
    await admitMemory(needed, 0, 4 * GiB);
  });
});
