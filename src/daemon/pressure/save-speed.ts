import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { messageOf } from '../../model/errors.ts';
import { Bandwidth } from '../../pressure/bandwidth.ts';
import { writeNote } from '../durable-note.ts';
import type { Log } from '../log.ts';

/** What saves of this node move in a second. A note keeps it: a caddisd that was started again predicts no worse than the one before. */
export class SaveSpeed {
  readonly #path: string;
  readonly #log: Log;
  readonly #bandwidth: Bandwidth;
  #writing: Promise<void> = Promise.resolve();

  constructor(stateDir: string, log: Log) {
    this.#path = join(stateDir, 'save-speed.json');
    this.#log = log;
    this.#bandwidth = new Bandwidth(readSpeed(this.#path));
  }

  get bytesPerSecond(): number {
    return this.#bandwidth.bytesPerSecond;
  }

  /** `bytes` of the host's memory were saved in `ms`. Written down in the background. */
  saw(bytes: number, ms: number): void {
    this.#bandwidth.saw(bytes, ms);
    const note = { bytesPerSecond: Math.round(this.bytesPerSecond) };
    this.#writing = this.#writing
      .then(() => writeNote(this.#path, note))
      .catch((error: unknown) => {
        this.#log.warn(`${this.#path} could not be written: ${messageOf(error)}`);
      });
  }
}

/** Undefined where nothing of use was written: it is learned anew. */
function readSpeed(path: string): number | undefined {
  try {
    const { bytesPerSecond } = JSON.parse(readFileSync(path, 'utf8')) as { bytesPerSecond?: unknown };
    return typeof bytesPerSecond === 'number' && bytesPerSecond > 0 ? bytesPerSecond : undefined;
  } catch {
    return undefined;
  }
}
