import { appendFile, mkdir, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';

import * as z from 'zod';

import { messageOf } from '../../model/errors.ts';
import type { DeedRecord } from '../../model/explain.ts';
import type { Log } from '../log.ts';

/** Two files of this size at most: some thousand deeds. */
const FILE_BYTES = 256 * 1024;

const deed = z.object({
  at: z.string(),
  job: z.string().optional(),
  what: z.string(),
  why: z.string(),
  numbers: z.record(z.string(), z.number()),
});

/** What was done to jobs for the sake of others, and why: a line of JSON each, in files of this node that never grow beyond a bound. */
export class Deeds {
  readonly #path: string;
  readonly #log: Log;
  #writing: Promise<void> = Promise.resolve();

  constructor(stateDir: string, log: Log) {
    this.#path = join(stateDir, 'give-back.jsonl');
    this.#log = log;
  }

  /** Written in the background: nothing waits for it. */
  note(record: Omit<DeedRecord, 'at'>): void {
    const line = `${JSON.stringify({ at: new Date().toISOString(), ...record })}\n`;
    this.#writing = this.#writing
      .then(() => this.#append(line))
      .catch((error: unknown) => {
        this.#log.warn(`${this.#path} could not be written: ${messageOf(error)}`);
      });
  }

  /** Of one job, or all; oldest first. */
  async all(job?: string): Promise<DeedRecord[]> {
    await this.#writing;
    const texts = await Promise.all(
      [`${this.#path}.1`, this.#path].map((path) => readFile(path, 'utf8').catch(() => '')),
    );
    return texts
      .join('')
      .split('\n')
      .flatMap((line) => read(line) ?? [])
      .filter((one) => job === undefined || one.job === job);
  }

  async #append(line: string): Promise<void> {
    const bytes = await stat(this.#path).then(
      ({ size }) => size,
      () => 0,
    );
    if (bytes > FILE_BYTES) await rename(this.#path, `${this.#path}.1`);
    if (bytes === 0) await mkdir(join(this.#path, '..'), { recursive: true, mode: 0o711 });
    await appendFile(this.#path, line, { mode: 0o600, flush: true });
  }
}

/** One that a crash has torn is left out. */
function read(line: string): DeedRecord | undefined {
  try {
    return deed.parse(JSON.parse(line)) as DeedRecord;
  } catch {
    return undefined;
  }
}
