import { CaddisError } from '../../model/errors.ts';
import type { Node } from '../node.ts';

/** Throws CaddisError when a job would stand still for longer than its site allows for a checkpoint. */
export function demandShortPause({ config: { checkpoint } }: Node, expectedMs: number): void {
  if (expectedMs > checkpoint.max_pause * 1000)
    throw new CaddisError(
      `it would stand still for about ${(expectedMs / 1000).toFixed(1)} s, more than checkpoint.max_pause (${checkpoint.max_pause} s)`,
    );
}
