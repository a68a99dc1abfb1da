import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import * as z from 'zod';

import { writeNote } from '../durable-note.ts';

/**
 * What this node knows of a machine that gave its memory back, or was about to: there may be no domain by which a caddisd that is started meanwhile could find it. Written
 * before the checkpoint is begun, and again with its number before QEMU ends; gone before the machine runs again.
 */
const noteSchema = z.strictObject({
  machine: z.string(),
  key: z.strictObject({
    scheduler: z.enum(['slurm', 'gridengine']),
    jobId: z.string(),
    task: z.string(),
  }),
  /** Of the checkpoint that is the machine; absent while that is written. */
  number: z.number().int().positive().optional(),
});
export type ReleaseNote = z.infer<typeof noteSchema>;

export async function writeReleaseNote(stateDir: string, note: ReleaseNote): Promise<void> {
  await writeNote(notePath(stateDir, note.machine), note);
}

/** Notes that cannot be read were torn by a crash of the node: its machines are gone with it. */
export async function readReleaseNotes(stateDir: string): Promise<ReleaseNote[]> {
  const names = await readdir(join(stateDir, 'released')).catch(() => [] as string[]);
  const notes: ReleaseNote[] = [];
  for (const name of names) {
    if (!name.endsWith('.json')) continue;
    const text = await readFile(join(stateDir, 'released', name), 'utf8').catch(() => '');
    try {
      notes.push(noteSchema.parse(JSON.parse(text)));
    } catch {}
  }
  return notes;
}

export async function removeReleaseNote(stateDir: string, machine: string): Promise<void> {
  await rm(notePath(stateDir, machine), { force: true });
}

function notePath(stateDir: string, machine: string): string {
  return join(stateDir, 'released', `${machine}.json`);
}
