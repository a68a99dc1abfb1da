import { readFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import type { Config } from '../config/schema.ts';
import type { JobEvent, JobStep } from '../jobs/transitions.ts';
import { Libvirt } from '../libvirt/index.ts';
import { CaddisError, messageOf } from '../model/errors.ts';
import { formatKey, type JobKey, type SchedulerName } from '../model/job.ts';
import { createGridEngine } from '../scheduler/gridengine/index.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import { createSlurm } from '../scheduler/slurm/index.ts';
import { Hypervisor } from '../vm/hypervisor.ts';
import type { Acceleration } from '../vm/shape.ts';
import { Accounts } from './accounting/accounts.ts';
import { SchedulerCalls } from './accounting/scheduler-calls.ts';
import { adopt, reconcile } from './adopt.ts';
import { answer } from './answer.ts';
import { connectGuest } from './connect-guest.ts';
import { execute } from './execute.ts';
import { NodeHealth } from './health.ts';
import { HookServer } from './hook-server.ts';
import type { Job } from './job.ts';
import { JobTable } from './job-table.ts';
import type { Log } from './log.ts';
import { look } from './look.ts';
import { type Checkpoints, openCheckpoints } from './moving/checkpoints.ts';
import { discard, discardForgotten } from './moving/discard.ts';
import { finishRaises } from './moving/raise-request.ts';
import { releaseWhenDue } from './moving/release-timer.ts';
import { stopMachine } from './moving/stand-still.ts';
import { tidyStore } from './moving/tidy.ts';
import type { Node } from './node.ts';
import { demandWritable, imageTrouble } from './node-trouble.ts';
import { endOrphans } from './orphans.ts';
import { rootSocket } from './places.ts';
import { Deeds } from './pressure/deeds.ts';
import { Feed } from './pressure/feed.ts';
import { GiveBack } from './pressure/give-back.ts';
import { Growth } from './pressure/growth.ts';
import { heldByBorrowers } from './pressure/lending.ts';
import { serveMetrics } from './pressure/metrics.ts';
import { Sampler } from './pressure/sampler.ts';
import { SaveSpeed } from './pressure/save-speed.ts';
import type { NodeView } from './pressure/view.ts';
import type { NodeContext } from './start-machine.ts';
import { UserSockets } from './user-sockets.ts';
import { top } from './verbs/top.ts';

/** Jobs of a caddisd that was down at their epilog are looked for after the shims have had time to come back. */
const ORPHAN_CHECK_MS = 15_000;
/** And then once in a while: a scheduler that gave no answer is asked again, a machine that nobody owns is ended. */
const ORPHAN_EVERY_MS = 60_000;
/** A start that failed is tried again after this long; hooks wait this long for a start. */
const RETRY_START_MS = 5_000;
const READY_WAIT_MS = 15_000;
/** A scheduler takes a moment to close its books on a job whose epilog has ended. */
const DISCARD_AFTER_MS = 5_000;
/** libvirtd starts within a second or two; a busy node takes longer. */
const LIBVIRT_START_MS = 10_000;
const LIBVIRT_AWAY_MS = 10_000;

/** One per node: owns the node's machines, answers the hooks, and watches both. */
export class Daemon implements Node {
  readonly config: Config;
  readonly log: Log;
  readonly jobs = new JobTable();
  readonly schedulers = new Map<SchedulerName, Scheduler>();
  readonly saves: SaveSpeed;
  readonly deeds: Deeds;
  readonly giveBack: GiveBack;
  readonly version = VERSION;
  accelerationReason = '';
  imageId = '';
  readonly health: NodeHealth;
  readonly accounts: Accounts;
  readonly schedulerCalls = new SchedulerCalls();
  readonly #hypervisor: Hypervisor;
  #context: NodeContext | undefined;
  #libvirtDownSinceMs: number | undefined;
  #watchesLibvirt = false;
  /** Aborted when hooks can be answered. */
  readonly #ready = new AbortController();
  readonly #server: HookServer;
  readonly #stop = new AbortController();
  #orphanCheck: NodeJS.Timeout | undefined;
  #sampler: Sampler | undefined;
  readonly #growth = new Growth(this);
  readonly #userSockets: UserSockets;
  #metrics: Server | undefined;

  constructor(config: Config, log: Log) {
    this.config = config;
    this.log = log;
    this.deeds = new Deeds(config.state_dir, log);
    this.saves = new SaveSpeed(config.state_dir, log);
    this.giveBack = new GiveBack(this, () => this.#sampler?.lookSoon());
    const connect = () =>
      Libvirt.openReconnecting(config.libvirt.uri, {
        endpoint: { kind: 'unix', path: config.libvirt.socket },
      });
    this.#hypervisor = new Hypervisor(connect(), connect());
    this.health = new NodeHealth({
      schedulers: () => [...this.schedulers.values()],
      log: this.log,
      probe: (thorough) => this.#probe(thorough),
      keptOutFile: join(config.state_dir, 'drained'),
    });
    this.accounts = new Accounts({
      stateDir: config.state_dir,
      keep: config.accounting.keep,
      log,
      schedulers: this.schedulers,
      ended: (uid) => void this.#userSockets.open(uid),
    });
    this.#server = new HookServer({
      handler: (call, client, socket) => answer(this, call, client, socket, this.#stop.signal),
      rejected: (socket, reason) => this.log.warn(`${socket.path}: ${reason}`),
    });
    this.#userSockets = new UserSockets(this.#server, config.run_dir, log);
  }

  /** What starts have in common; there only after `start`. */
  get context(): NodeContext {
    if (!this.#context)
      throw new CaddisError(`caddisd is still starting: ${this.health.reason ?? 'it looks at its machines'}`);
    return this.#context;
  }

  /**
   * Begins to answer hooks, looks at the node, and takes over the machines that run. While that fails (libvirt away, no image) the node is out of service and it is tried
   * again: hooks are told so, steps wait.
   */
  async start(): Promise<void> {
    const { config } = this;
    if (config.slurm.enabled)
      this.schedulers.set(
        'slurm',
        createSlurm({
          ...schedulerOptions(config.slurm),
          called: this.schedulerCalls.counter('slurm'),
          runDir: config.run_dir,
          publishIntervalMs: config.slurm.publish_interval * 1000,
          scavengeNode: config.slurm.scavenge_node,
          scavengePartitions: config.pressure.scavenge,
        }),
      );
    if (config.gridengine.enabled)
      this.schedulers.set(
        'gridengine',
        createGridEngine({
          ...schedulerOptions(config.gridengine),
          called: this.schedulerCalls.counter('gridengine'),
          runDir: config.run_dir,
        }),
      );
    await this.#server.listen({ path: rootSocket(config.run_dir), owner: { uid: 0, gid: 0 } });
    while (!(await this.#takeOver()))
      await delay(RETRY_START_MS, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    if (this.#stop.signal.aborted) return;
    this.log.info(
      `ready: image ${this.imageId.slice(0, 12)}, ${this.context.acceleration} (${this.accelerationReason}), ${this.jobs.all().length} machines adopted`,
    );
    await this.health.start();
    await this.#watchPressure();
    await this.#userSockets.openAll(this.accounts.jobs);
    this.accounts.start();
    this.#orphanCheck = setTimeout(() => void this.#checkOrphans(), ORPHAN_CHECK_MS);
    void releaseWhenDue(this, this.#stop.signal);
    void finishRaises(this);
  }

  get view(): NodeView | undefined {
    return this.#sampler?.view;
  }

  get lendableBytes(): number | undefined {
    return this.#sampler?.lendableBytes;
  }

  async #watchPressure(): Promise<void> {
    const feeds = [...this.schedulers].map(([name, scheduler]) => new Feed(name, scheduler, this.log));
    this.#sampler = new Sampler(this, (view) => {
      for (const feed of feeds) feed.offer(view.report);
      this.giveBack.look(view);
    });
    this.#sampler.start();
    const { listen } = this.config.metrics;
    if (listen === undefined) return;
    // A port that is taken is no reason to leave the node's jobs alone.
    this.#metrics = await serveMetrics(listen, () => this.view && top(this, this.view)).catch(
      (error: unknown) => {
        this.log.error(messageOf(error));
        return undefined;
      },
    );
  }

  /** One attempt; true when hooks can be answered, or when caddisd stops. */
  async #takeOver(): Promise<boolean> {
    if (this.#stop.signal.aborted) return true;
    try {
      await this.#watchLibvirt();
      const { found, imageId, accelerationReason } = await look(this.config);
      this.imageId = imageId;
      this.accelerationReason = accelerationReason;
      if (found.acceleration === 'tcg') this.log.warn(`machines run in TCG: ${accelerationReason}`);
      this.#context = {
        ...found,
        hypervisor: this.#hypervisor,
        connectGuest: (job) => connectGuest(this.config, job, () => this.#reported(job)),
        checkpoints: await this.#openCheckpoints(found.acceleration),
        heldByBorrowers: () => heldByBorrowers(this),
      };
      await adopt(this);
      this.#context.checkpoints?.custody.renewSoon();
      this.#ready.abort();
      return true;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.health.unfit(messageOf(error));
      return false;
    }
  }

  /** Why no machine can be made now whatever the job, if so. A start of caddisd is waited for. */
  async trouble(signal: AbortSignal): Promise<string | undefined> {
    if (!(await this.isReady(signal))) return this.health.reason ?? 'caddisd is still starting';
    return imageTrouble(this.context.shape, this.config.vm.image);
  }

  /** Resolves when machines were taken over, or with false after a bound that a hook can wait. */
  async isReady(signal: AbortSignal): Promise<boolean> {
    const bound = AbortSignal.any([signal, this.#ready.signal, AbortSignal.timeout(READY_WAIT_MS)]);
    await delay(READY_WAIT_MS, undefined, { signal: bound }).catch(() => undefined);
    return this.#ready.signal.aborted;
  }

  /** Stops answering. The machines and their steps go on; shims wait for the next caddisd. */
  async stop(): Promise<void> {
    this.#stop.abort(new CaddisError('caddisd is stopping'));
    clearTimeout(this.#orphanCheck);
    this.#sampler?.stop();
    this.giveBack.stop();
    this.accounts.stop();
    this.#metrics?.close();
    this.#server.close();
    for (const job of this.jobs.all()) job.resources.guest?.close();
    this.#context?.checkpoints?.custody.stop();
    await this.health.stop();
    await this.#hypervisor.close();
  }

  async openStepSocket(job: Job): Promise<void> {
    await this.#server.listen({ path: job.places.stepSocket, owner: job.identity });
  }

  closeStepSocket(job: Job): void {
    this.#server.unlisten(job.places.stepSocket);
  }

  execute(job: Job, step: JobStep): Promise<JobEvent | undefined> {
    return execute(this, job, step);
  }

  /** Opened once: a second attempt to take over goes on with the same custody of the jobs. */
  async #openCheckpoints(acceleration: Acceleration): Promise<Checkpoints | undefined> {
    if (this.#context?.checkpoints) return this.#context.checkpoints;
    const hypervisor = this.#hypervisor;
    const { libvirt, hypervisor: qemu } = await hypervisor.versions();
    const identity = {
      image: this.imageId,
      acceleration,
      cpuModel: await hypervisor.cpuModel(acceleration),
      machineTypes: await hypervisor.machineTypes(),
      qemuVersion: qemu,
      libvirtVersion: libvirt,
    };
    return openCheckpoints(this.config.checkpoint, identity, {
      log: this.log,
      overtaken: (job) => void this.#overtaken(job),
    });
  }

  /** Another node runs the job: this copy stands still from now on, and goes. */
  async #overtaken(job: Job): Promise<void> {
    job.log.error('another node has claimed this job: ending this copy');
    const { domain } = job.resources;
    if (domain) await stopMachine(this, job, domain).catch(() => undefined);
    await job.dispatch({ type: 'orphaned' }).catch((error: unknown) => job.log.error(messageOf(error)));
  }

  discardLater(key: JobKey, scheduler: Scheduler): void {
    const { checkpoints } = this.context;
    if (!checkpoints) return;
    const timer = setTimeout(() => {
      discard(this, checkpoints, key, scheduler).catch((error: unknown) =>
        this.log.warn(`checkpoints of ${formatKey(key)} could not be looked at: ${messageOf(error)}`),
      );
    }, DISCARD_AFTER_MS);
    timer.unref();
  }

  #reported(job: Job): void {
    this.#growth.reported(job);
    // An owner that wakes up is not kept waiting for the next look.
    if (this.giveBack.isLending) this.#sampler?.lookSoon();
  }

  async #watchLibvirt(): Promise<void> {
    const hypervisor = this.#hypervisor;
    await hypervisor.ready(LIBVIRT_START_MS).catch((error: unknown) => {
      throw new CaddisError(
        `cannot reach libvirt at ${this.config.libvirt.socket}: ${messageOf(error)}; is libvirtd running?`,
      );
    });
    if (this.#watchesLibvirt) return;
    await hypervisor.onStopped((name, reason) => void this.#stopped(name, reason));
    this.#watchesLibvirt = true;
    hypervisor.onDown((error) => {
      this.#libvirtDownSinceMs = performance.now();
      this.log.warn(`libvirt connection lost: ${error.message}`);
    });
    hypervisor.onUp(() => {
      this.#libvirtDownSinceMs = undefined;
      void this.#reconcile();
    });
  }

  /** A machine stopped: its guest's last words may say why. */
  async #stopped(machine: string, reason: string): Promise<void> {
    const job = this.jobs.byMachine(machine);
    if (!job) return;
    const console = await readFile(job.places.console, 'utf8').catch(() => '');
    const panic = /Kernel panic[^\n\r]*/.exec(console)?.[0];
    await job.dispatch({ type: 'machine-lost', reason: `its machine stopped (${panic ?? reason})` });
  }

  async #reconcile(): Promise<void> {
    if (!this.#ready.signal.aborted) return;
    await reconcile(this, (job) => this.#stopped(job.machine, 'while libvirt was away')).catch(
      (error: unknown) => this.log.warn(`could not compare machines with libvirt: ${messageOf(error)}`),
    );
  }

  async #checkOrphans(): Promise<void> {
    try {
      await this.#reconcile();
      await endOrphans(this);
      const { checkpoints } = this.context;
      if (checkpoints)
        await discardForgotten(this, checkpoints)
          .then(() => tidyStore(this, checkpoints))
          .catch((error: unknown) => this.log.warn(`the store could not be swept: ${messageOf(error)}`));
    } finally {
      // Whatever went wrong with one job: the others are looked after all the same.
      if (!this.#stop.signal.aborted)
        this.#orphanCheck = setTimeout(() => void this.#checkOrphans(), ORPHAN_EVERY_MS);
    }
  }

  /** What keeps this node from making machines, if anything. Thorough: also what only an unfit node is asked, because it writes. */
  async #probe(thorough: boolean): Promise<string | undefined> {
    const { config } = this;
    const downMs = this.#libvirtDownSinceMs === undefined ? 0 : performance.now() - this.#libvirtDownSinceMs;
    // A restart of libvirtd is no reason to drain a node; a start waits as long for it.
    if (!this.#hypervisor.isUp && (thorough || downMs > LIBVIRT_AWAY_MS))
      return `libvirt does not answer at ${config.libvirt.socket}; is libvirtd running?`;
    const image = await imageTrouble(this.context.shape, config.vm.image);
    if (image !== undefined || !thorough) return image;
    await demandWritable(config);
    return undefined;
  }
}

/** Set when the bundle is built. */
declare const CADDIS_VERSION: string | undefined;
const VERSION = typeof CADDIS_VERSION === 'string' ? CADDIS_VERSION : 'development';

function schedulerOptions(section: Config['slurm'] | Config['gridengine']) {
  return { binDir: section.bin_dir, spoolDir: section.spool_dir, environment: section.environment };
}
