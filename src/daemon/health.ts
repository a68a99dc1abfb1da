import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

import { messageOf } from '../model/errors.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import type { Log } from './log.ts';

/** How often an unfit node is looked at again, and how long one look may take. */
const PROBE_EVERY_MS = 5_000;
const PROBE_TIMEOUT_MS = 10_000;
/** How long a node stays out of service at least, and when trouble that comes back counts as new. */
const FIRST_HOLD_MS = 5_000;
const LONGEST_HOLD_MS = 600_000;
const FORGET_AFTER_MS = 300_000;

export interface HealthOptions {
  readonly schedulers: () => readonly Scheduler[];
  /** What is wrong with the node now; undefined = nothing. Thorough: the node is out of service, and what it takes to make a machine is tried. */
  readonly probe: (thorough: boolean) => Promise<string | undefined>;
  readonly log: Log;
  /** Is there while an admin keeps the node out of service; holds the reason. */
  readonly keptOutFile: string;
}

/**
 * Takes the node out of service by name while it cannot make machines, and puts it back when it can again. What others have done to the node (an admin's drain) is left alone:
 * the adapters see to that.
 */
export class NodeHealth {
  readonly #options: HealthOptions;
  #reason: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #holdMs = FIRST_HOLD_MS;
  #heldUntilMs = 0;
  #backInServiceMs: number | undefined;
  /** Reports go out one after the other, so that a recovery never overtakes the trouble before it. */
  #reports: Promise<void> = Promise.resolve();

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  get reason(): string | undefined {
    return this.#reason;
  }

  /** Looks once and begins to watch; also ends a drain of ours that an earlier caddisd left. */
  async start(): Promise<void> {
    const reason = await this.#probe();
    if (reason !== undefined) this.unfit(reason);
    else this.#fit();
    this.#schedule();
  }

  /** Every job on this node would fail: says so to the schedulers. */
  unfit(reason: string): void {
    if (this.#reason === reason) return;
    if (this.#reason === undefined) this.#hold();
    this.#reason = reason;
    this.#options.log.error(`node out of service: ${reason}`);
    this.#report();
  }

  /** An admin takes the node out of service, whatever its health, until `letIn`; a restart of caddisd changes nothing. */
  async keepOut(reason: string): Promise<void> {
    await mkdir(dirname(this.#options.keptOutFile), { recursive: true, mode: 0o711 });
    await writeFile(this.#options.keptOutFile, `${reason}\n`);
    this.unfit(reason);
    await this.#reports;
  }

  async letIn(): Promise<void> {
    await rm(this.#options.keptOutFile, { force: true });
    this.#heldUntilMs = 0;
    const reason = await this.#probe();
    if (reason !== undefined) this.unfit(reason);
    else this.#fit();
    await this.#reports;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#reports;
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(async () => {
      const reason = await this.#probe();
      if (reason !== undefined) this.unfit(reason);
      else if (this.#reason !== undefined && performance.now() >= this.#heldUntilMs) {
        this.#backInServiceMs = performance.now();
        this.#fit();
      }
      this.#schedule();
    }, PROBE_EVERY_MS);
  }

  /** Also reported when nothing was wrong before: an earlier caddisd may have left a drain. */
  #fit(): void {
    if (this.#reason !== undefined) this.#options.log.info('node back in service');
    this.#reason = undefined;
    this.#report();
  }

  /** A fault that no probe sees would take the node in and out with every job: each time it comes back soon, the node stays out for longer. */
  #hold(): void {
    const now = performance.now();
    const again = this.#backInServiceMs !== undefined && now - this.#backInServiceMs < FORGET_AFTER_MS;
    this.#holdMs = again ? Math.min(this.#holdMs * 2, LONGEST_HOLD_MS) : FIRST_HOLD_MS;
    this.#heldUntilMs = now + this.#holdMs;
  }

  /** Bounded also where a file system hangs. */
  async #probe(): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<string>((resolve) => {
      timer = setTimeout(
        () =>
          resolve(
            `looking at this node took more than ${PROBE_TIMEOUT_MS / 1000} s: does a file system hang?`,
          ),
        PROBE_TIMEOUT_MS,
      );
    });
    try {
      const kept = await readFile(this.#options.keptOutFile, 'utf8').catch(() => undefined);
      if (kept !== undefined) return kept.trim();
      return await Promise.race([this.#options.probe(this.#reason !== undefined), tooLong]);
    } catch (error) {
      return messageOf(error);
    } finally {
      clearTimeout(timer);
    }
  }

  #report(): void {
    const reason = this.#reason;
    const health = reason === undefined ? ({ ok: true } as const) : ({ ok: false, reason } as const);
    this.#reports = this.#reports.then(async () => {
      for (const scheduler of this.#options.schedulers()) {
        await scheduler
          .setNodeHealth(health, AbortSignal.timeout(PROBE_TIMEOUT_MS))
          .catch((error: unknown) => {
            this.#options.log.warn(`could not tell the scheduler about this node: ${messageOf(error)}`);
          });
      }
    });
  }
}
