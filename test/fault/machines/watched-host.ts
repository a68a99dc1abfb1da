import { readFileSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { build } from 'esbuild';

import { startOn, stopOn } from '../../lab/caddisd.ts';
import { daemonLog } from '../../lab/daemons.ts';
import type { Lab, LabHost } from '../../lab/host.ts';
import { repository } from '../../lab/layout.ts';
import { DIRECTORY_VARIABLE, type Fired, files, type Rule, type Traced } from './rules.ts';

const INTERPOSER = join(repository, 'build/fault/interpose.cjs');

/** Builds what is loaded into each caddisd under test. */
export async function buildInterposer(): Promise<void> {
  await build({
    entryPoints: [join(import.meta.dirname, 'interpose.ts')],
    outfile: INTERPOSER,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    logLevel: 'warning',
  });
}

/** One node whose caddisd runs with the interposer: takes rules, and tells which points were reached. */
export class WatchedHost {
  readonly host: LabHost;
  readonly #lab: Lab;
  readonly #directory: string;
  #extra = '';
  #rules: Rule[] = [];

  constructor(lab: Lab, host: LabHost) {
    this.#lab = lab;
    this.host = host;
    this.#directory = join(lab.paths.run, `interposed-${host.name}`);
  }

  /** Starts caddisd anew, with the interposer in it. `extra`: more TOML for it, until the next time. */
  async begin(extra: string): Promise<void> {
    this.#extra = extra;
    await rm(this.#directory, { recursive: true, force: true });
    await mkdir(this.#directory, { recursive: true });
    await stopOn(this.host);
    await this.#start();
  }

  /** Starts it anew as it is for everybody else. */
  async end(): Promise<void> {
    await stopOn(this.host);
    await startOn(this.#lab, this.host);
  }

  /** After it was killed. */
  async restart(): Promise<void> {
    await stopOn(this.host, 'KILL');
    await this.#start();
  }

  async setRules(rules: readonly Rule[]): Promise<void> {
    this.#rules = [...rules];
    const path = join(this.#directory, files.rules);
    await writeFile(`${path}.new`, JSON.stringify(this.#rules));
    await rename(`${path}.new`, path);
  }

  /** Rules whose point was reached are over also for the next caddisd. */
  async drop(id: string): Promise<void> {
    await this.setRules(this.#rules.filter((rule) => rule.id !== id));
  }

  /** Lets a step go on that a rule holds. */
  async release(id: string): Promise<void> {
    await writeFile(join(this.#directory, `go-${id}`), '');
  }

  fired(): Fired[] {
    return lines<Fired>(join(this.#directory, files.fired));
  }

  /** All steps since this time, milliseconds since the epoch. */
  trace(since: number): Traced[] {
    return lines<Traced>(join(this.#directory, files.trace)).filter(({ at }) => at >= since);
  }

  /** caddisd's log from this byte on. */
  log(from = 0): string {
    return readFileSync(daemonLog(this.host.name, 'caddisd')).subarray(from).toString('utf8');
  }

  get logBytes(): number {
    return readFileSync(daemonLog(this.host.name, 'caddisd')).length;
  }

  #start(): Promise<void> {
    return startOn(this.#lab, this.host, this.#extra, {
      NODE_OPTIONS: `--require=${INTERPOSER}`,
      [DIRECTORY_VARIABLE]: this.#directory,
    });
  }
}

function lines<T>(path: string): T[] {
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return [];
  }
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as T);
}
