import { join } from 'node:path';

import type { Lab, LabHost } from '../lab/host.ts';
import { repository } from '../lab/layout.ts';
import { on } from '../lab/process.ts';
import type { Figures } from './bench.ts';
import { linesOf, logLength } from './daemon-log.ts';
import type { LiveJob } from './live-job.ts';

const TIMEOUT_MS = 300_000;

/** `caddis migrate --to` of a job to the other node and back: for how long it stood still, and what of that was the machine's way from libvirt to libvirt. */
export async function handOvers(lab: Lab, job: LiveJob, node: LabHost, other: LabHost): Promise<Figures> {
  const there = await handOver(lab, job, node, other);
  return { there, back: await handOver(lab, job, other, node) };
}

async function handOver(lab: Lab, job: LiveJob, from: LabHost, to: LabHost): Promise<Figures> {
  const before = await logLength(lab, to);
  const command = [
    process.execPath,
    join(repository, 'dist/caddis.cjs'),
    'migrate',
    job.key,
    '--to',
    to.name,
  ];
  const text = await on(from, [...command, '--json'], { timeoutMs: TIMEOUT_MS });
  const { how, stood_still_ms } = JSON.parse(text) as { how: string; stood_still_ms: number };
  const ready = (await linesOf(lab, to, job.key, before)).find((line) =>
    line.text.startsWith('machine ready'),
  );
  return {
    how,
    job_stood_still_ms: stood_still_ms,
    hand_over_ms: ready?.fields.hand_over ?? null,
    wake_ms: ready?.fields.wake ?? null,
  };
}
