import { access, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { z } from 'zod';

import { manifestSchema } from '../../checkpoint/manifest-schema.ts';
import { writeNote } from '../durable-note.ts';

/**
 * What a save has learned that nobody could tell a second time: the shims are gone once they have said how far they were. On disk before libvirt is asked for anything, so
 * that a caddisd which is started in the middle of a save can do it over.
 */
const intentSchema = z.object({
  saved: manifestSchema.pick({ sessions: true, relays: true, forget: true }),
  /** Pids of the shims that have said so: they end when they are told, by whichever caddisd. */
  shims: z.array(z.number()),
});
type Intent = z.infer<typeof intentSchema>;

export async function writeIntent(stateDir: string, machine: string, intent: Intent): Promise<void> {
  await writeNote(intentPath(stateDir, machine), intent);
}

/** Undefined when no save has come that far. */
export async function readIntent(stateDir: string, machine: string): Promise<Intent | undefined> {
  const text = await readFile(intentPath(stateDir, machine), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return intentSchema.parse(JSON.parse(text));
  } catch {
    // Torn by a crash of the node: its machines are gone with it.
    return undefined;
  }
}

/** A scheduler that has been told that the machine moves does not say it again, and cannot be asked. */
export async function noteMove(stateDir: string, machine: string): Promise<void> {
  await mkdir(join(stateDir, 'intents'), { recursive: true, mode: 0o700 });
  await writeFile(movePath(stateDir, machine), '', { mode: 0o600 });
}

export function wasToldToMove(stateDir: string, machine: string): Promise<boolean> {
  return exists(movePath(stateDir, machine));
}

/** While a machine is being parked: it is in the store, and runs for an instant that nobody but the next start may build upon. */
export async function noteParking(stateDir: string, machine: string): Promise<void> {
  await mkdir(join(stateDir, 'intents'), { recursive: true, mode: 0o700 });
  await writeFile(parkingPath(stateDir, machine), '', { mode: 0o600 });
}

export function wasBeingParked(stateDir: string, machine: string): Promise<boolean> {
  return exists(parkingPath(stateDir, machine));
}

export async function removeIntent(stateDir: string, machine: string): Promise<void> {
  for (const path of [intentPath, movePath, parkingPath].map((pathOf) => pathOf(stateDir, machine)))
    await rm(path, { force: true });
}

/** Removes those of machines that are gone: their caddisd died between ending a machine and forgetting it. */
export async function sweepIntents(stateDir: string, isAlive: (machine: string) => boolean): Promise<void> {
  for (const file of await readdir(join(stateDir, 'intents')).catch(() => [] as string[]))
    if (!isAlive(file.replace(/\.(json(\.new)?|move|parking)$/, '')))
      await rm(join(stateDir, 'intents', file), { force: true });
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function parkingPath(stateDir: string, machine: string): string {
  return join(stateDir, 'intents', `${machine}.parking`);
}

function movePath(stateDir: string, machine: string): string {
  return join(stateDir, 'intents', `${machine}.move`);
}

function intentPath(stateDir: string, machine: string): string {
  return join(stateDir, 'intents', `${machine}.json`);
}
