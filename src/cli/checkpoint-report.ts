import type { CurrentClaim } from '../checkpoint/claim-file.ts';
import type { ListedGeneration } from '../checkpoint/store.ts';
import { formatKey } from '../model/job.ts';
import { formatBytes } from '../model/units.ts';
import { table } from './table.ts';

/** A generation that was hashed; `problem` undefined: it is what was saved. */
export interface Verified {
  readonly generation: ListedGeneration;
  readonly problem: string | undefined;
}

/** One checkpoint as `--json` prints it. Field names are part of the interface: snake_case, units in the names. */
export function asJson(one: ListedGeneration): object {
  const manifest = one.state === 'complete' ? one.manifest : undefined;
  return {
    job: formatKey(one.key),
    generation: one.number,
    state: one.state,
    refusal: one.state === 'refused' ? one.refusal : null,
    directory: one.directory,
    taken_at: manifest?.takenAt ?? null,
    age_seconds: one.ageMs === undefined ? null : Math.round(one.ageMs / 1000),
    host: manifest?.host ?? null,
    user: manifest?.user ?? null,
    reason: manifest?.reason ?? null,
    epoch: manifest?.epoch ?? null,
    memory_bytes: manifest?.memory.bytes ?? null,
    scratch_bytes: manifest?.scratch?.packedBytes ?? null,
    bytes: one.bytes,
  };
}

export function wideTable(found: readonly ListedGeneration[]): string {
  return table(
    ['job', 'generation', 'age', 'host', 'user', 'reason', 'memory', 'scratch', 'state'],
    found.map((one) => {
      if (one.state === 'refused')
        return [
          formatKey(one.key),
          String(one.number),
          '-',
          '-',
          '-',
          '-',
          '-',
          '-',
          `refused: ${one.refusal}`,
        ];
      const { host, user, reason, memory, scratch } = one.manifest;
      return [
        formatKey(one.key),
        String(one.number),
        ageText(one.ageMs),
        host,
        user,
        reason,
        formatBytes(memory.bytes),
        scratch ? formatBytes(scratch.packedBytes) : '-',
        one.state,
      ];
    }),
  );
}

export function verifiedTable(verified: readonly Verified[]): string {
  return table(
    ['job', 'generation', 'bytes', 'verified'],
    verified.map(({ generation, problem }) => [
      formatKey(generation.key),
      String(generation.number),
      formatBytes(generation.bytes),
      problem ?? 'ok',
    ]),
  );
}

/** What a person wants to know of one checkpoint; `--json` has the rest of the manifest. */
export function details(one: ListedGeneration, claim: CurrentClaim | undefined): string {
  const held = claim
    ? `${claim.holder.host}, machine ${claim.holder.machine}, epoch ${claim.epoch}${claim.released ? ', released' : claim.parked ? ', parked' : ''}`
    : 'nobody';
  const lines = [
    ['checkpoint', `${formatKey(one.key)}/${one.number}`],
    ['directory', one.directory],
    ['bytes', formatBytes(one.bytes)],
    ['claimed by', held],
    ...(one.state === 'refused' ? [['refused', one.refusal]] : manifestLines(one.manifest, one.ageMs)),
  ];
  return lines.map(([label = '', value = '']) => `${label.padEnd(13)} ${value}`).join('\n');
}

function manifestLines(
  manifest: Extract<ListedGeneration, { state: 'complete' }>['manifest'],
  ageMs: number | undefined,
): string[][] {
  const { memory, scratch, sizes, sessions, totals } = manifest;
  return [
    ['user', `${manifest.user} (${manifest.uid})`],
    ['taken', `${manifest.takenAt} on ${manifest.host}, ${ageText(ageMs)} ago, for ${manifest.reason}`],
    ['machine', `${manifest.machine}, incarnation ${manifest.incarnation}, epoch ${manifest.epoch}`],
    [
      'needs',
      `${manifest.acceleration}, ${manifest.cpuModel}, ${manifest.machineType}, QEMU ${manifest.qemuVersion}`,
    ],
    ['image', manifest.image],
    ['size', `${sizes.cpus} CPUs, ${formatBytes(sizes.memoryBytes)}`],
    ['memory', `${formatBytes(memory.bytes)}  ${memory.hash}`],
    [
      'scratch',
      scratch
        ? `${formatBytes(scratch.packedBytes)} of a disk of ${formatBytes(scratch.bytes)}  ${scratch.hash}`
        : '-',
    ],
    ['sessions', sessions.map(({ name, phase }) => `${name} (${phase})`).join(', ') || '-'],
    ['ran, frozen', `${ageText(totals.ranMs)}, ${ageText(totals.frozenMs)}`],
  ];
}

/** `40s`, `12m`, `5h`, `3d`. */
export function ageText(ms: number | undefined): string {
  if (ms === undefined) return '-';
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}
