import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { asUser } from '../integration/support/batch.ts';
import type { Lab, LabHost } from '../lab/host.ts';
import { on, until } from '../lab/process.ts';
import type { Figures } from './bench.ts';
import { type LogLine, linesOf, logLength } from './daemon-log.ts';
import { ddSeconds } from './dd.ts';
import { type LiveJob, lastTick, usageOf } from './live-job.ts';
import { rounded } from './statistics.ts';

const DEADLINE_MS = 240_000;
const IMAGE_AIM = { ratio: 1.1, extraBytes: 16 << 20 };
const SAVE_AIM = { ratio: 1.3, extraSeconds: 0.5 };
const RESTORE_AIM = { ratio: 1.3 };

export interface Requeued {
  readonly figures: Figures;
  /** Beside what `virsh restore` takes on the same storage. */
  readonly restoreAim: (virshRestoreMs: number) => Figures;
}

/** `scontrol requeue` of a job until it prints its next line; it comes back on the same node. dd writes as many bytes into the same store. */
export async function requeue(
  lab: Lab,
  node: LabHost,
  job: LiveJob,
  store = lab.paths.store,
): Promise<Requeued> {
  const { usedBytes, kernelBytes } = await usageOf(lab, node, job);
  const from = await logLength(lab, node);
  const tick = await lastTick(job);
  const requested = Date.now();
  const { exitCode, stderr } = await asUser(lab, ['scontrol', 'requeue', job.id], { user: 'root' });
  if (exitCode !== 0) throw new Error(`scontrol requeue ${job.id}: ${stderr}`);
  const answered = Date.now();
  const ready = await until(
    `${job.key} to be restored`,
    async () => find(await linesOf(lab, node, job.key, from), 'machine ready'),
    { timeoutMs: DEADLINE_MS, everyMs: 100 },
  );
  // Ticks that were printed before the freeze do not count: their number is known only when the old output is back.
  const lines = await linesOf(lab, node, job.key, from);
  const [frozen, written, saved] = ['frozen', 'checkpoint written', 'saved as'].map((words) =>
    find(lines, words),
  );
  if (!frozen || !written || !saved)
    throw new Error(`${job.key}: caddisd's log on ${node.name} lacks its save`);
  const next = await nextLine(job, tick, ready.at);
  const restored = find(lines, 'memory restored')?.fields ?? {};
  const image = await newestImage(store, job);
  const imageBytes = (await stat(image)).size;
  const storeRead = await timed(node, ['dd', `if=${image}`, 'of=/dev/null', 'bs=4M', 'status=none']);
  const ddStore = await ddSeconds(node, store, imageBytes);
  const saveSeconds = (saved.fields.ms ?? Number.NaN) / 1000;
  const restoreMs = (ready.fields.scratch ?? 0) + (ready.fields.restore ?? Number.NaN);
  const imageLimit = IMAGE_AIM.ratio * usedBytes + IMAGE_AIM.extraBytes;
  const saveLimit = SAVE_AIM.ratio * ddStore + SAVE_AIM.extraSeconds;
  return {
    figures: {
      request_to_frozen: {
        scontrol_to_frozen_ms: frozen.at - requested,
        scontrol_itself_ms: answered - requested,
        suspend_call_ms: frozen.fields.ms ?? null,
      },
      image: {
        image_bytes: imageBytes,
        used_bytes: usedBytes,
        used_without_kernel_bytes: usedBytes - kernelBytes,
        image_over_used_ratio: rounded(imageBytes / usedBytes),
        aim_bytes: Math.round(imageLimit),
        met: imageBytes <= imageLimit,
      },
      save: {
        save_seconds: rounded(saveSeconds),
        ...Object.fromEntries(Object.entries(written.fields).map(([name, ms]) => [`${name}_ms`, ms])),
        dd_store_fdatasync_seconds: rounded(ddStore),
        aim_seconds: rounded(saveLimit),
        met: saveSeconds <= saveLimit,
      },
      restore: {
        restore_ms: restoreMs,
        // Nothing can be restored from the store faster than it is read.
        dd_read_of_store_ms: Math.round(storeRead),
        // After so many, all beside each other: QEMU read, all was read and hashed, libvirt was done.
        restore_qemu_reads_ms: restored.qemu ?? null,
        restore_read_and_hash_ms: restored.read ?? null,
        restore_libvirt_ms: restored.libvirt ?? null,
        wake_ms: ready.fields.wake ?? null,
        ...Object.fromEntries(Object.entries(ready.fields).map(([name, ms]) => [`prolog_${name}_ms`, ms])),
      },
      requeue_to_next_line_ms: Math.round(next - requested),
    },
    restoreAim: (virshMs) => ({
      restore_ms: restoreMs,
      virsh_restore_ms: Math.round(virshMs),
      aim_ms: Math.round(RESTORE_AIM.ratio * virshMs),
      met: restoreMs <= RESTORE_AIM.ratio * virshMs,
    }),
  };
}

function find(lines: readonly LogLine[], beginning: string): LogLine | undefined {
  return lines.find(({ text }) => text.startsWith(beginning));
}

/** Time of day of the job's first line after the machine was ready, by the file's own time. */
async function nextLine(job: LiveJob, tick: number, readyAt: number): Promise<number> {
  const output = join(job.directory, 'out');
  return until(
    `${job.key} to go on`,
    async () => {
      const { mtimeMs } = await stat(output);
      return mtimeMs > readyAt && (await lastTick(job)) > tick && mtimeMs;
    },
    { timeoutMs: DEADLINE_MS, everyMs: 10 },
  );
}

async function newestImage(store: string, job: LiveJob): Promise<string> {
  const generations = join(store, 'jobs', job.key, 'generations');
  const newest = Math.max(...(await readdir(generations)).filter((name) => /^\d+$/.test(name)).map(Number));
  return join(generations, `${newest}`, 'memory');
}

async function timed(node: LabHost, command: readonly string[]): Promise<number> {
  const began = performance.now();
  await on(node, command, { timeoutMs: DEADLINE_MS });
  return performance.now() - began;
}
