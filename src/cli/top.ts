import { setTimeout as delay } from 'node:timers/promises';
import type { CommandModule } from 'yargs';

import type { JobTop, NodeTop } from '../model/top.ts';
import { formatBytes } from '../model/units.ts';
import { askDaemon } from './hook.ts';
import { table } from './table.ts';

const EVERY_MS = 1_000;
/** Of a terminal: cursor to the first place, and away with what is below. */
const HOME = '\x1b[H';
const CLEAR = '\x1b[2J';
const CLEAR_LINE = '\x1b[K';
const CLEAR_REST = '\x1b[J';

interface TopArguments {
  readonly once: boolean;
  readonly json: boolean;
}

export const topCommand: CommandModule<object, TopArguments> = {
  command: 'top',
  describe: "what this node's jobs use, how near they are to their limits, and what could be lent",
  builder: (yargs) =>
    yargs
      .option('once', { type: 'boolean', default: false, describe: 'print one table and end' })
      .option('json', { type: 'boolean', default: false, describe: 'one JSON object a line' }),
  handler: async ({ once, json }) => {
    // Whoever reads through a pipe may close it (`caddis top | head`).
    process.stdout.on('error', () => process.exit(0));
    const isScreen = !once && !json && process.stdout.isTTY;
    if (isScreen) process.stdout.write(CLEAR);
    for (;;) {
      const text = await askDaemon('top');
      const lines = json ? text.trimEnd() : renderTop(JSON.parse(text) as NodeTop);
      process.stdout.write(isScreen ? onScreen(lines) : `${lines}\n`);
      if (once) return;
      await delay(EVERY_MS);
    }
  },
};

/** In place of what was there, without a flicker; no longer than the screen. */
function onScreen(text: string): string {
  const lines = text.split('\n').slice(0, Math.max((process.stdout.rows ?? 24) - 1, 1));
  const columns = process.stdout.columns ?? 80;
  return `${HOME}${lines.map((line) => `${line.slice(0, columns)}${CLEAR_LINE}\n`).join('')}${CLEAR_REST}`;
}

/** The table of `caddis top`. */
function renderTop(now: NodeTop): string {
  const { slack, lent, pressure, node } = now;
  return [
    `${now.host}: ${now.jobs.length} ${now.jobs.length === 1 ? 'job' : 'jobs'}, health ${now.health}`,
    `slack     ${memory(slack.memory_bytes)}, ${slack.cpus.toFixed(1)} CPUs (lent: ${memory(lent.memory_bytes)}, ${lent.cpus.toFixed(1)} CPUs)`,
    `pressure  ${percent(pressure.overall)} (memory ${percent(pressure.memory)}, cpu ${percent(pressure.cpu)}, io ${percent(pressure.io)})`,
    ...(node
      ? [
          `node      ${memory(node.memory_available_bytes)} of ${memory(node.memory_bytes)} available, ${node.idle_cpus.toFixed(1)} CPUs idle`,
        ]
      : []),
    '',
    table(
      ['job', 'user', 'state', 'cpu', 'memory', 'of', 'resident', 'wall', 'stalls c/m/i'],
      [...now.jobs].sort((a, b) => (b.memory_pressure ?? 0) - (a.memory_pressure ?? 0)).map(row),
    ),
  ].join('\n');
}

function row(job: JobTop): string[] {
  return [
    job.job,
    job.user,
    job.phase,
    `${job.cpus_used?.toFixed(2) ?? '-'}/${job.cpus}`,
    memory(job.memory_used_bytes),
    limit(job),
    memory(job.memory_resident_bytes),
    percent(job.memory_pressure),
    job.stalls
      ? [job.stalls.cpu_some, job.stalls.memory_some, job.stalls.io_some].map(percent).join(' ')
      : '-',
  ];
}

function limit({ memory_limit_bytes: now, memory_asked_bytes: asked }: JobTop): string {
  return now > asked ? `${memory(now)} (asked ${memory(asked)})` : memory(now);
}

function memory(bytes: number | null): string {
  return bytes === null ? '-' : formatBytes(bytes);
}

function percent(share: number | null): string {
  return share === null ? '-' : `${Math.round(100 * share)} %`;
}
