import type { CommandModule } from 'yargs';

import type { BorrowerExplained, DeedRecord, Explanation } from '../model/explain.ts';
import { formatKey } from '../model/job.ts';
import { formatBytes } from '../model/units.ts';
import { askDaemon } from './hook.ts';
import { jobOf } from './job-argument.ts';

interface ExplainArguments {
  readonly of?: string | undefined;
  readonly json: boolean;
}

export const explainCommand: CommandModule<object, ExplainArguments> = {
  command: 'explain [of]',
  describe: 'what was done to jobs that run in lent memory and CPUs, and why; also why nothing is done',
  builder: (yargs) =>
    yargs
      .positional('of', {
        type: 'string',
        describe: 'slurm-17, gridengine-12.1, 17, 17_3, 12.1, or this host',
      })
      .option('json', { type: 'boolean', default: false, describe: 'one JSON object' })
      .example('$0 explain 17', 'why job 17 stands still, went away, or was sent back'),
  handler: async ({ of, json }) => {
    const text = await askDaemon('explain', of === undefined ? [] : [await nameOf(of)]);
    console.log(json ? text.trimEnd() : renderExplanation(JSON.parse(text) as Explanation));
  },
};

/** Host names are caddisd's to judge. */
async function nameOf(text: string): Promise<string> {
  return /^(\d|slurm-|gridengine-)/.test(text) ? formatKey(await jobOf(text)) : text;
}

/** In words, for people. */
export function renderExplanation({ host, job, now, borrowers, history }: Explanation): string {
  const lines: string[] = [];
  if (now) {
    lines.push(`${host}, ${time(now.at)}: ${now.why}`);
    lines.push(`  ${inWords({ ...now.numbers, save_bytes_per_second: now.save_bytes_per_second })}`);
    if (now.store_trouble !== null) lines.push(`  nothing can be saved: ${now.store_trouble}`);
  } else lines.push(`${host}: caddisd has not looked yet`);
  if (borrowers.length > 0) lines.push('', ...borrowers.map(borrowerLine));
  else if (job !== undefined) lines.push('', `${job} does not run here in lent space`);
  lines.push('');
  if (history.length === 0)
    lines.push(`nothing was done ${job === undefined ? 'on this node' : `to ${job} here`}`);
  for (const deed of history) lines.push(deedLine(deed), `    ${inWords(deed.numbers)}`);
  return lines.filter((line) => line !== '    ').join('\n');
}

function borrowerLine(one: BorrowerExplained): string {
  const parts = [
    `${one.job} is ${one.phase}${one.standing === 'pressed' ? ' for its owners' : ''}`,
    `${formatBytes(one.resident_bytes)} of memory`,
    ...(one.balloon_bytes > 0 ? [`${formatBytes(one.balloon_bytes)} given back by its balloon`] : []),
    `${one.weight} CPU weight`,
    ...(one.priority === null ? [] : [`priority ${one.priority}`]),
    ...(one.unsavable === null ? [] : [`cannot be sent back: ${one.unsavable}`]),
  ];
  return parts.join(', ');
}

function deedLine({ at, job, what, why }: DeedRecord): string {
  return `${time(at)} ${job ?? ''} ${what}: ${why}`.replace('  ', ' ');
}

function time(at: string): string {
  return at.replace('T', ' ').replace(/\.\d+Z$/, 'Z');
}

/** `left_bytes` 1024 -> `left 1 KiB`: the unit is in the name. */
function inWords(numbers: Readonly<Record<string, number>>): string {
  return Object.entries(numbers)
    .map(([name, value]) => {
      const [, what = name, unit = ''] = /^(.*?)_?(bytes_per_second|bytes|ms|cpus)$/.exec(name) ?? [];
      const words = what.replaceAll('_', ' ');
      if (unit === 'bytes') return `${words} ${formatBytes(value)}`;
      if (unit === 'bytes_per_second') return `${words} ${formatBytes(value)}/s`;
      if (unit === 'ms') return `${words} ${(value / 1000).toFixed(1)} s`;
      return unit === 'cpus' ? `${words} ${value} CPUs` : `${words} ${value}`;
    })
    .join(', ');
}
