import { formatKey, type JobKey } from '../model/job.ts';
import type { Manifest } from './manifest-schema.ts';

/** The job that is to go on, and the node on which. */
export interface RestoreTarget {
  readonly key: JobKey;
  /** As the manifest has it: a job id that was used again is another job. */
  readonly submitIdentity: string;
  readonly uid: number;
  /** Ids of the images that are on this node. */
  readonly images: readonly string[];
  readonly acceleration: 'kvm' | 'tcg';
  readonly cpuModel: string;
  /** Versioned machine types that this node's QEMU knows: `pc-q35-7.2`. */
  readonly machineTypes: readonly string[];
  /** `7.2.19`. */
  readonly qemuVersion: string;
}

/**
 * Whether a checkpoint may be restored for this job on this node: undefined when it may, or what speaks against it, for people.
 * A newer QEMU reads what an older one wrote for the same versioned machine type; not the other way round.
 */
export function compatible(manifest: Manifest, target: RestoreTarget): string | undefined {
  const same = (what: string, taken: string | number, here: string | number) =>
    taken === here ? undefined : `${what}: it was taken with ${taken}, here is ${here}`;
  const known = (what: string, taken: string, here: readonly string[], advice: string) =>
    here.includes(taken)
      ? undefined
      : `${what} ${taken} is not on this node (${here.join(', ') || 'none'}); ${advice}`;
  return (
    same('job', formatKey(manifest.key), formatKey(target.key)) ??
    same('another job with this id', manifest.submitIdentity, target.submitIdentity) ??
    same('uid', manifest.uid, target.uid) ??
    known('image', manifest.image, target.images, 'copy it from a node that has it ("caddis image list")') ??
    same('acceleration', manifest.acceleration, target.acceleration) ??
    same('CPU model', manifest.cpuModel, target.cpuModel) ??
    known('machine type', manifest.machineType, target.machineTypes, 'let it go on where it was taken') ??
    olderQemu(manifest.qemuVersion, target.qemuVersion)
  );
}

function olderQemu(taken: string, here: string): string | undefined {
  if (compareVersions(here, taken) >= 0) return undefined;
  return `QEMU: it was taken with ${taken}, here is the older ${here}; upgrade this node or let it go on elsewhere`;
}

/** Below 0 when `a` is older. Only the leading dotted numbers count: `7.2.19 (Debian 1:7.2)` is 7.2.19. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [numbersOf(a), numbersOf(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function numbersOf(version: string): number[] {
  return (/^\d+(\.\d+)*/.exec(version)?.[0] ?? '').split('.').map(Number);
}
