import { describe, expect, it } from 'vitest';

import { GiB, MiB } from '../../../src/model/units.ts';
import { hotplugRegion, memoryToKeep, memoryToPlug, mostOffered, mostToPlug } from '../../../src/vm/grow.ts';

describe('how much memory is plugged', () => {
  it('is none for a job that fits into the base machine', () => {
    expect(memoryToPlug(100 * MiB, { pluggedBytes: 0, availableBytes: 177 * MiB })).toBe(0);
  });

  it('covers the request and the page structures of what is plugged', () => {
    for (const wanted of [200 * MiB, GiB, 64 * GiB]) {
      const plugged = memoryToPlug(wanted, { pluggedBytes: 0, availableBytes: 177 * MiB });
      expect(177 * MiB + plugged * (1 - 1 / 64)).toBeGreaterThanOrEqual(wanted);
      expect(plugged % (2 * MiB)).toBe(0);
      expect(plugged).toBeLessThan(wanted * 1.02 + 16 * MiB);
    }
  });

  it('goes on from what is plugged and never shrinks', () => {
    const more = memoryToPlug(GiB, { pluggedBytes: 900 * MiB, availableBytes: 1000 * MiB });
    expect(more).toBeGreaterThan(900 * MiB);
    expect(memoryToPlug(MiB, { pluggedBytes: 900 * MiB, availableBytes: 1000 * MiB })).toBe(900 * MiB);
  });

  it('keeps enough plugged for what is wanted still, when some of it goes', () => {
    const now = { pluggedBytes: 900 * MiB, availableBytes: 1000 * MiB };
    const kept = memoryToKeep(600 * MiB, now);
    expect(kept % (2 * MiB)).toBe(0);
    expect(kept).toBeLessThan(540 * MiB);
    const left = { pluggedBytes: kept, availableBytes: 1000 * MiB - (900 * MiB - kept) * (1 - 1 / 64) };
    expect(memoryToPlug(600 * MiB, left)).toBeLessThanOrEqual(kept + 4 * MiB);
    expect(memoryToKeep(2000 * MiB, now)).toBe(900 * MiB);
    expect(memoryToKeep(MiB, { pluggedBytes: 10 * MiB, availableBytes: 177 * MiB })).toBe(0);
  });

  it('never plugs more than there is for what it says can be offered at most', () => {
    for (const pluggedBytes of [0, 512 * MiB])
      for (const most of [64 * MiB, 1000 * MiB, 5888 * MiB]) {
        const now = { pluggedBytes, availableBytes: 200 * MiB + pluggedBytes };
        const offer = mostOffered(most, now);
        expect(memoryToPlug(offer, now)).toBeLessThanOrEqual(Math.max(most, pluggedBytes));
      }
  });

  it("the device has whole blocks of the guest's Linux, so that a guest can take all of a node of any size", () => {
    const baseMemoryBytes = 256 * MiB;
    /** What of a device Linux uses. */
    const usable = (bytes: number) => Math.floor(bytes / (128 * MiB)) * 128 * MiB;
    for (const maxMemoryBytes of [8 * GiB, 6100 * MiB, 1664 * MiB + 4096, 300 * MiB, 66_571_993_088]) {
      const maxima = { baseMemoryBytes, maxMemoryBytes };
      const most = mostToPlug(maxima);
      expect(baseMemoryBytes + most).toBeLessThanOrEqual(maxMemoryBytes);
      expect(baseMemoryBytes + most).toBeGreaterThan(maxMemoryBytes - 2 * MiB);
      expect(most).toBeLessThanOrEqual(usable(hotplugRegion(maxima)));
    }
    expect(hotplugRegion({ baseMemoryBytes, maxMemoryBytes: baseMemoryBytes })).toBe(0);
    expect(hotplugRegion({ baseMemoryBytes, maxMemoryBytes: 128 * MiB })).toBe(0);
  });
});
