import { parseArgs } from 'node:util';

import { table } from '../../src/cli/table.ts';
import { type FaultPart, Tally } from './fault.ts';

/** Each is loaded only when it is asked for. */
const faults: Record<string, { says: string; load: () => Promise<readonly FaultPart[]> }> = {
  checkpoint: {
    says: 'crashes, damage, full disks and an absent store while checkpoints are saved, removed, claimed and restored',
    load: async () => (await import('./checkpoint.ts')).parts,
  },
};

const USAGE = `usage: npm run fault -- NAME [PART] [--json]
${Object.entries(faults)
  .map(([name, { says }]) => `  ${name.padEnd(10)} ${says}`)
  .join('\n')}
  --json     one JSON object on stdout instead of a table`;

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
  });
  const [name = '', only] = positionals;
  const parts = (await faults[name]?.load())?.filter((part) => only === undefined || part.name === only);
  if (values.help || !parts || parts.length === 0 || positionals.length > 2) {
    console.error(USAGE);
    process.exit(values.help ? 0 : 64);
  }
  const tally = new Tally();
  const begun = performance.now();
  for (const part of parts) await part.run(tally);
  const result = {
    fault: name,
    parts: parts.map((part) => part.name),
    variants: tally.variants,
    seconds: Number(((performance.now() - begun) / 1000).toFixed(1)),
    kinds: tally.kinds,
    counts: tally.counts,
    failures: tally.failures,
  };
  const text = values.json ? JSON.stringify(result) : report(result);
  // Written in full before we go; connections to machines that are gone must not keep us.
  process.stdout.write(`${text}\n`, () => process.exit(tally.failures.length > 0 ? 1 : 0));
} catch (error) {
  console.error(`fault: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
  process.exit(1);
}

function report({
  kinds,
  counts,
  failures,
  variants,
  seconds,
}: { seconds: number } & Pick<Tally, 'kinds' | 'counts' | 'failures' | 'variants'>): string {
  const failed = (kind: string) => failures.filter((failure) => failure.kind === kind).length;
  return [
    table(
      ['kind', 'variants', 'failed'],
      Object.entries(kinds).map(([kind, count]) => [kind, String(count), String(failed(kind))]),
    ),
    '',
    ...Object.entries(counts).map(([what, count]) => `${what}: ${count}`),
    ...failures.slice(0, 20).map(({ kind, variant, what }) => `${kind} (${variant}): ${what}`),
    `${variants} variants in ${seconds} s, ${failures.length} failed`,
  ].join('\n');
}
