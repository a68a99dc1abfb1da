import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { messageOf } from '../../model/errors.ts';
import { formatKey, type JobKey, parseKey, type SchedulerName } from '../../model/job.ts';
import type { EndedJob } from '../../model/usage.ts';
import { type Scheduler, SchedulerUnavailable } from '../../scheduler/scheduler.ts';
import { writeNote } from '../durable-note.ts';
import type { Log } from '../log.ts';

/** A scheduler hears of the end of a job some seconds after its epilog. */
const FIRST_AFTER_MS = 5_000;
/** Between two jobs: a node that ends a whole array must not flood an accounting that all nodes share. */
const BETWEEN_MS = 500;
/** An accounting that does not answer is left in peace for so long. */
const AGAIN_MS = 30_000;
const REPORT_MS = 20_000;
/** Longer than any accounting is away for: then nobody hears of it. */
const FORGET_MS = 3 * 86_400_000;
/** Notes that wait; what ends beyond is told by nobody. */
const MOST = 10_000;

interface Waiting {
  readonly key: JobKey;
  readonly job: EndedJob;
  /** Monotonic. */
  notBeforeMs: number;
}

/** What schedulers are still to be told of jobs that have ended: one note each on disk, so that the next caddisd tells it. One at a time. */
export class Outbox {
  readonly #dir: string;
  readonly #log: Log;
  readonly #schedulers: ReadonlyMap<SchedulerName, Scheduler>;
  readonly #waiting = new Map<string, Waiting>();
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #isBusy = false;
  /** Said once, not for each job. */
  #trouble: string | undefined;

  constructor(
    dir: string,
    { log, schedulers }: { readonly log: Log; readonly schedulers: ReadonlyMap<SchedulerName, Scheduler> },
  ) {
    this.#dir = dir;
    this.#log = log;
    this.#schedulers = schedulers;
  }

  /** Takes up what an earlier caddisd had not told. */
  start(): void {
    void this.#load();
    this.#timer ??= setInterval(() => void this.#turn(), BETWEEN_MS).unref();
  }

  stop(): void {
    this.#stop.abort();
    clearInterval(this.#timer);
  }

  async add(key: JobKey, job: EndedJob): Promise<void> {
    if (!this.#schedulers.get(key.scheduler)?.reportUsage) return;
    if (this.#waiting.size >= MOST)
      throw new Error(`${MOST} jobs wait for their accounting already: ${formatKey(key)} is left out`);
    await writeNote(this.#path(formatKey(key)), job);
    this.#wait(key, job, FIRST_AFTER_MS);
  }

  #wait(key: JobKey, job: EndedJob, afterMs: number): void {
    this.#waiting.set(formatKey(key), { key, job, notBeforeMs: performance.now() + afterMs });
  }

  async #load(): Promise<void> {
    for (const name of await readdir(this.#dir).catch(() => [] as string[])) {
      const key = parseKey(name.replace(/\.json$/, ''));
      if (!key || this.#waiting.has(formatKey(key)) || this.#waiting.size >= MOST) continue;
      const text = await readFile(join(this.#dir, name), 'utf8').catch(() => '');
      try {
        this.#wait(key, JSON.parse(text) as EndedJob, FIRST_AFTER_MS);
      } catch {
        await rm(join(this.#dir, name), { force: true });
      }
    }
  }

  async #turn(): Promise<void> {
    if (this.#isBusy) return;
    const now = performance.now();
    const next = [...this.#waiting].find(([, { notBeforeMs }]) => notBeforeMs <= now);
    if (!next) return;
    this.#isBusy = true;
    try {
      await this.#tell(...next);
    } finally {
      this.#isBusy = false;
    }
  }

  async #tell(name: string, waiting: Waiting): Promise<void> {
    const { key, job } = waiting;
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(REPORT_MS)]);
    try {
      await this.#schedulers.get(key.scheduler)?.reportUsage?.(job, key, signal);
      this.#trouble = undefined;
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const isOld = Date.now() - Date.parse(job.ended_at) > FORGET_MS;
      if (error instanceof SchedulerUnavailable && !isOld) {
        waiting.notBeforeMs = performance.now() + AGAIN_MS;
        return;
      }
      const trouble = messageOf(error);
      if (trouble !== this.#trouble)
        this.#log.warn(`${name}: ${key.scheduler} is not told what it used: ${trouble}`);
      this.#trouble = trouble;
    }
    this.#waiting.delete(name);
    await rm(this.#path(name), { force: true }).catch(() => undefined);
  }

  #path(name: string): string {
    return join(this.#dir, `${name}.json`);
  }
}
