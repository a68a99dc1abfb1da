/** Sizes as admins write them. */

const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

const FACTORS: Record<string, number> = { '': 1, k: KiB, m: MiB, g: GiB, t: 1024 * GiB };

/** Parses `512M`, `1.5G`, `1024` (bytes; factors of 1024, an `iB` or `B` may follow) into bytes. Throws RangeError naming the text. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const factor = FACTORS[(match?.[2] ?? 'x').toLowerCase()];
  if (!match || factor === undefined)
    throw new RangeError(`"${text}" is no size: write for example 512M or 4G`);
  return Math.round(Number(match[1]) * factor);
}

/** `512 MiB`, `1.5 GiB`: at most one decimal. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}

/** `300M`, `2G`, rounded up: as it is typed to a scheduler. No decimals, which Slurm does not take. */
export function sizeText(bytes: number): string {
  const mib = Math.ceil(bytes / MiB);
  return mib >= 1024 && mib % 1024 === 0 ? `${mib / 1024}G` : `${mib}M`;
}
