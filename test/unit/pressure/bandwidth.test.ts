import { describe, expect, it } from 'vitest';

import { Bandwidth } from '../../../src/pressure/bandwidth.ts';

const MiB = 1024 * 1024;

describe('what saves move in a second', () => {
  it('is modest at first, then what was seen; a slower save counts at once', () => {
    const bandwidth = new Bandwidth();
    expect(bandwidth.bytesPerSecond).toBe(80 * MiB);
    bandwidth.saw(1000 * MiB, 5_000);
    expect(bandwidth.bytesPerSecond).toBeCloseTo(120 * MiB);
    for (let i = 0; i < 20; i++) bandwidth.saw(1000 * MiB, 5_000);
    expect(bandwidth.bytesPerSecond / MiB).toBeCloseTo(200, 0);
    bandwidth.saw(1000 * MiB, 10_000);
    expect(bandwidth.bytesPerSecond).toBe(100 * MiB);
  });

  it('is not judged by a save of next to nothing, or by a clock that stood', () => {
    const bandwidth = new Bandwidth(100 * MiB);
    bandwidth.saw(4 * MiB, 2_000);
    bandwidth.saw(500 * MiB, 0);
    expect(bandwidth.bytesPerSecond).toBe(100 * MiB);
  });
});
