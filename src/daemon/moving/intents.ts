import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { manifestSchema } from '../../checkpoint/manifest-schema.ts';
import type { SavedSessions } from './moved-sessions.ts';

/**
 * What a save has learned that nobody could tell a second time: the shims are gone once they have said how far they were. On disk before libvirt is asked for anything, so
 * that a caddisd which is started in the middle of a save can do it over.
 */
const intentSchema = manifestSchema.pick({ sessions: true, relays: true, forget: true });

export async function writeIntent(stateDir: string, machine: string, sessions: SavedSessions): Promise<void> {
  const path = intentPath(stateDir, machine);
  await mkdir(join(stateDir, 'intents'), { recursive: true, mode: 0o700 });
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(JSON.stringify(sessions));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
}

/** Undefined when no save has come that far. */
export async function readIntent(stateDir: string, machine: string): Promise<SavedSessions | undefined> {
  const text = await readFile(intentPath(stateDir, machine), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return intentSchema.parse(JSON.parse(text));
  } catch {
    // Torn by a crash of the node: its machines are gone with it.
    return undefined;
  }
}

export async function removeIntent(stateDir: string, machine: string): Promise<void> {
  await rm(intentPath(stateDir, machine), { force: true });
}

function intentPath(stateDir: string, machine: string): string {
  return join(stateDir, 'intents', `${machine}.json`);
}
