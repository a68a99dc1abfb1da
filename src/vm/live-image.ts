import { setTimeout as sleep } from 'node:timers/promises';

import { type Domain, isLibvirtError } from '../libvirt/index.ts';
import { CaddisError } from '../model/errors.ts';
import type { Hypervisor, SavingProgress } from './hypervisor.ts';
import { findIoHelper, type IoHelper } from './io-helper.ts';

/** libvirt begins to write within some tens of milliseconds. */
const BEGIN_MS = 10_000;
const LOOK_EVERY_MS = 5;

/**
 * A memory image of a machine that runs on while it is written. QEMU stops the machine by itself as soon as what remains can be written in a millisecond, and libvirt starts it again when all is
 * in the file; so that this does not happen before the job is ready for it, the process that writes the file is held up but for as long as `run` says.
 */
export class LiveImage {
  readonly #hypervisor: Hypervisor;
  readonly #domain: Domain;
  readonly #helper: IoHelper;
  readonly #written: Promise<void>;
  #isOver = false;
  #abandoned: Promise<void> | undefined;

  private constructor(hypervisor: Hypervisor, domain: Domain, helper: IoHelper, written: Promise<void>) {
    this.#hypervisor = hypervisor;
    this.#domain = domain;
    this.#helper = helper;
    this.#written = written.finally(() => {
      this.#isOver = true;
      // A libvirtd that died has left it behind, and QEMU waits for it.
      helper.letGo();
    });
    // Whoever waits for it hears of it.
    this.#written.catch(() => undefined);
  }

  /** Begins one; it is held up when this resolves. Undefined: this libvirt writes it in a way that cannot be held up, or it was done at once: nothing is under way then. */
  static async begin(
    hypervisor: Hypervisor,
    domain: Domain,
    path: string,
    options: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<LiveImage | undefined> {
    await hypervisor.setLeastDowntime(domain);
    let isOver = false;
    const written = hypervisor.saveRunning(domain, path, options).finally(() => {
      isOver = true;
    });
    written.catch(() => undefined);
    const deadline = performance.now() + BEGIN_MS;
    for (;;) {
      const helper = await findIoHelper(path);
      helper?.holdUp();
      if (helper) return new LiveImage(hypervisor, domain, helper, written);
      if (isOver || performance.now() > deadline) {
        await written;
        return undefined;
      }
      await sleep(LOOK_EVERY_MS);
    }
  }

  /** It is written, failed, or was given up: nothing of it will hold the machine. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Has it written for so long, or somewhat longer: how long is what it resolves with. */
  async run(milliseconds: number): Promise<number> {
    const begun = performance.now();
    this.#helper.letGo();
    await sleep(milliseconds);
    if (!this.#isOver) this.#helper.holdUp();
    return performance.now() - begun;
  }

  /** How far it is. Undefined: the machine was stopped for the rest already. */
  async progress(): Promise<SavingProgress | undefined> {
    const [progress, isPaused] = await Promise.all([
      this.#hypervisor.savingProgress(this.#domain),
      this.#hypervisor.isPaused(this.#domain),
    ]);
    return this.#isOver || isPaused ? undefined : progress;
  }

  /** Has it written to its end. The machine runs when this resolves, whoever has suspended it before. */
  async finish(): Promise<void> {
    this.#helper.letGo();
    await this.#written;
  }

  /** Gives it up. The machine runs when this resolves, or is gone. Never rejects. */
  abandon(): Promise<void> {
    this.#isOver = true;
    this.#helper.letGo();
    this.#abandoned ??= this.#abandon().catch(() => undefined);
    return this.#abandoned;
  }

  async #abandon(): Promise<void> {
    await this.#hypervisor.abortJob(this.#domain).catch(() => undefined);
    await this.#written.catch((error: unknown) =>
      isLibvirtError(error) ? undefined : this.#hypervisor.afterLostSave(this.#domain),
    );
  }

  /** Waits for `work`, for which the guest must run. Rejects when the image had the machine stopped first. */
  async whileRunning<T>(work: Promise<T>): Promise<T> {
    let isDone = false;
    const result = work.finally(() => {
      isDone = true;
    });
    result.catch(() => undefined);
    while (!isDone) {
      await Promise.race([result.catch(() => undefined), sleep(10 * LOOK_EVERY_MS)]);
      if (!isDone && !(await this.progress())) throw new MissedInstant();
    }
    return result;
  }
}

/** The image was complete before the job was ready for it. */
export class MissedInstant extends CaddisError {
  override name = 'MissedInstant';
  constructor() {
    super('its memory was written before its processes stood still');
  }
}

export function isMissedInstant(error: unknown): error is MissedInstant {
  return error instanceof MissedInstant;
}
