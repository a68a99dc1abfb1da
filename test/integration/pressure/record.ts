import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import type { NodeTop } from '../../../src/model/top.ts';
import { parseMeminfo, parseProcessStat } from '../../../src/pressure/proc.ts';
import { hookClient } from '../../lab/caddisd.ts';
import type { LabHost } from '../../lab/host.ts';
import { on, until } from '../../lab/process.ts';
import type { Series } from '../../unit/pressure/replay.ts';
import { machineOf } from '../moving/support.ts';

const EVERY_MS = 500;
const MiB = 1024 * 1024;

interface Recorded {
  readonly key: string;
  readonly isBorrower: boolean;
}

/**
 * Writes down what the give-back policy would see of these jobs until it is stopped, for test/unit/pressure/series: every half second what the host's /proc says, and the tasks that
 * each guest reported last. Only when CADDIS_RECORD_SERIES names a file: `CADDIS_RECORD_SERIES=/tmp/NAME npx vitest run ... story.test.ts`.
 */
export async function record(
  node: LabHost,
  jobs: readonly Recorded[],
  { name, says, capacityBytes }: { name: string; says: string; capacityBytes: number },
): Promise<() => Promise<void>> {
  const path = process.env.CADDIS_RECORD_SERIES;
  if (path === undefined) return async () => undefined;
  const pids = await Promise.all(jobs.map(async (job) => (await machineOf(node, job))?.qemu_pid ?? 0));
  // A caddisd that has just been started has not looked yet.
  let newest = await until('top to answer', () => topOf(node).catch(() => undefined), {
    timeoutMs: 30_000,
    everyMs: 200,
  });
  const looks: Series['looks'][number][] = [];
  const stop = new AbortController();
  const asking = repeat(stop.signal, async () => {
    newest = await topOf(node).catch(() => newest);
  });
  const looking = repeat(stop.signal, async () => {
    looks.push({
      atMs: Math.round(performance.now()),
      availableBytes: parseMeminfo(readFileSync('/proc/meminfo', 'latin1')).availableBytes,
      samples: jobs.map(({ key }, i) => sample(pids[i] ?? 0, newest, key)),
    });
  });
  return async () => {
    stop.abort();
    await Promise.all([asking, looking]);
    const series: Series = {
      says,
      node: { cpus: 4, capacityBytes, keptBytes: 512 * MiB },
      jobs: jobs.map(({ key, isBorrower }) => ({
        ...{ job: isBorrower ? 'borrower' : 'owner', isBorrower },
        cpus: newest.jobs.find(({ job }) => job === key)?.cpus ?? (isBorrower ? 1 : 4),
        memoryBytes: newest.jobs.find(({ job }) => job === key)?.memory_limit_bytes ?? 300 * MiB,
      })),
      looks,
    };
    const lines = JSON.stringify(series).replaceAll('{"atMs"', '\n{"atMs"');
    await writeFile(`${path}-${name}.json`, `${lines}\n`);
  };
}

function sample(pid: number, top: NodeTop, key: string): Series['looks'][number]['samples'][number] {
  try {
    const stat = parseProcessStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
    const runnable = top.jobs.find(({ job }) => job === key)?.tasks_runnable ?? null;
    return !stat || stat.residentBytes === 0
      ? null
      : [Math.round(stat.residentBytes / MiB), stat.cpuMs, runnable];
  } catch {
    return null;
  }
}

async function topOf(node: LabHost): Promise<NodeTop> {
  return JSON.parse(await on(node, [hookClient, '--connect-timeout', '0', 'top'])) as NodeTop;
}

async function repeat(stop: AbortSignal, look: () => Promise<void>): Promise<void> {
  while (!stop.aborted) {
    await look();
    await sleep(EVERY_MS, undefined, { signal: stop }).catch(() => undefined);
  }
}
