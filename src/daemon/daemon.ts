import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';

import type { Config } from '../config/schema.ts';
import { ImageStore } from '../guest/image/store.ts';
import type { JobEvent, JobStep } from '../jobs/transitions.ts';
import { Libvirt } from '../libvirt/index.ts';
import { CaddisError, messageOf } from '../model/errors.ts';
import { identityOf } from '../model/identity.ts';
import { formatKey, type HookCall, parseKey, type SchedulerName } from '../model/job.ts';
import { createGridEngine } from '../scheduler/gridengine/index.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import { createSlurm } from '../scheduler/slurm/index.ts';
import { chooseAcceleration } from '../vm/acceleration.ts';
import { nodeCapacity } from '../vm/capacity.ts';
import { Hypervisor } from '../vm/hypervisor.ts';
import { adopt, endOrphans } from './adopt.ts';
import { execute } from './execute.ts';
import { Guest } from './guest.ts';
import { NodeHealth } from './health.ts';
import { type HookClient, HookServer, type HookSocket } from './hook-server.ts';
import type { Job } from './job.ts';
import { JobTable } from './job-table.ts';
import type { Log } from './log.ts';
import { decideRelay } from './relay.ts';
import type { NodeContext } from './start-machine.ts';
import { epilog } from './verbs/epilog.ts';
import { exec, shell } from './verbs/exec.ts';
import { facts } from './verbs/facts.ts';
import { prolog } from './verbs/prolog.ts';
import { status } from './verbs/status.ts';

/** How long a canary guest may take to boot under KVM. */
const CANARY_DEADLINE_MS = 5_000;
/** Jobs of a caddisd that was down at their epilog are looked for after the shims have had time to come back. */
const ORPHAN_CHECK_MS = 15_000;

/** One per node: owns the node's machines, answers the hooks, and watches both. */
export class Daemon {
  readonly config: Config;
  readonly log: Log;
  readonly jobs = new JobTable();
  readonly schedulers = new Map<SchedulerName, Scheduler>();
  readonly version = VERSION;
  accelerationReason = '';
  imageId = '';
  #context: NodeContext | undefined;
  #health: NodeHealth | undefined;
  readonly #server: HookServer;
  readonly #stop = new AbortController();
  #orphanCheck: NodeJS.Timeout | undefined;

  constructor(config: Config, log: Log) {
    this.config = config;
    this.log = log;
    this.#server = new HookServer({
      handler: (call, client, socket) => this.#answer(call, client, socket),
      rejected: (socket, reason) => this.log.warn(`${socket.path}: ${reason}`),
    });
  }

  /** What starts have in common; there only after `start`. */
  get context(): NodeContext {
    if (!this.#context) throw new CaddisError('caddisd is still starting');
    return this.#context;
  }

  get health(): NodeHealth {
    if (!this.#health) throw new CaddisError('caddisd is still starting');
    return this.#health;
  }

  /** Looks at the node, takes over the machines that run, and begins to answer hooks. */
  async start(): Promise<void> {
    const { config } = this;
    if (config.slurm.enabled) this.schedulers.set('slurm', createSlurm({ ...schedulerOptions(config.slurm), runDir: config.run_dir }));
    if (config.gridengine.enabled)
      this.schedulers.set('gridengine', createGridEngine(schedulerOptions(config.gridengine)));
    this.#context = await this.#look();
    this.#health = new NodeHealth({
      schedulers: [...this.schedulers.values()],
      log: this.log,
      probe: () => this.#probe(),
    });
    await this.#watchLibvirt();
    await adopt(this);
    await this.#server.listen({ path: join(config.run_dir, 'hook.sock'), owner: { uid: 0, gid: 0 } });
    this.log.info(
      `ready: image ${this.imageId.slice(0, 12)}, ${this.context.acceleration} (${this.accelerationReason}), ${this.jobs.all().length} machines adopted`,
    );
    await this.health.start();
    this.#orphanCheck = setTimeout(() => void endOrphans(this), ORPHAN_CHECK_MS);
  }

  /** Stops answering. The machines and their steps go on; shims wait for the next caddisd. */
  async stop(): Promise<void> {
    this.#stop.abort(new CaddisError('caddisd is stopping'));
    clearTimeout(this.#orphanCheck);
    await this.#server.close();
    for (const job of this.jobs.all()) job.resources.guest?.close();
    await this.#health?.stop();
    await this.#context?.hypervisor.close();
  }

  async openStepSocket(job: Job): Promise<void> {
    await this.#server.listen({ path: job.places.stepSocket, owner: job.identity });
  }

  async closeStepSocket(job: Job): Promise<void> {
    await this.#server.unlisten(job.places.stepSocket);
  }

  execute(job: Job, step: JobStep): Promise<JobEvent | undefined> {
    return execute(this, job, step);
  }

  async #look(): Promise<NodeContext> {
    const { config } = this;
    const image = await new ImageStore(config.vm.images_dir).find(config.vm.image);
    this.imageId = image.id;
    const kernel = join(image.directory, 'vmlinux');
    const initrd = join(image.directory, 'initrd');
    const { acceleration, reason } = await chooseAcceleration({
      wanted: config.vm.acceleration,
      emulator: config.vm.emulator,
      kernel,
      initrd,
      deadlineMs: CANARY_DEADLINE_MS,
    });
    this.accelerationReason = reason;
    if (acceleration === 'tcg') this.log.warn(`machines run in TCG: ${reason}`);
    const capacity = nodeCapacity({
      cpusMax: config.vm.cpus_max,
      memoryMaxBytes: config.vm.memory_max,
      reserveBytes: config.vm.reserve_memory,
    });
    const libvirt = Libvirt.openReconnecting(config.libvirt.uri, {
      endpoint: { kind: 'unix', path: config.libvirt.socket },
    });
    return {
      config,
      acceleration,
      capacity,
      hypervisor: new Hypervisor(libvirt),
      qemuOwner: await account(config.vm.qemu_user),
      connectGuest: (job) => this.#connectGuest(job),
      shape: {
        acceleration,
        emulator: config.vm.emulator,
        machine: config.vm.machine,
        kernel,
        initrd,
        root: join(image.directory, 'root.erofs'),
        baseMemoryBytes: config.vm.base_memory,
        maxMemoryBytes: capacity.memoryBytes,
        maxCpus: capacity.cpus,
        extraKernelArguments: config.vm.extra_kernel_arguments,
      },
    };
  }

  #connectGuest(job: Job): Guest {
    return new Guest({
      control: job.places.control,
      bulk: job.places.bulk,
      log: job.log,
      lostShimGraceMs: this.config.policy.lost_shim_grace * 1000,
      decideRelay: (request) => decideRelay(job, request, job.shims.get(request.parent)),
      stepOpened: () => void job.dispatch({ type: 'step-opened' }),
      stepEnded: () => void job.dispatch({ type: 'step-ended' }),
      silent: (reason) => void job.dispatch({ type: 'machine-lost', reason }),
      pressure: (pressure) => {
        job.sizes.availableBytes = pressure.memAvailableBytes;
      },
    });
  }

  async #watchLibvirt(): Promise<void> {
    const { hypervisor } = this.context;
    hypervisor.onDown((error) => this.log.warn(`libvirt connection lost: ${error.message}`));
    await hypervisor.ready(30_000).catch((error: unknown) => {
      throw new CaddisError(
        `cannot reach libvirt at ${this.config.libvirt.socket}: ${messageOf(error)}; is libvirtd running?`,
      );
    });
    await hypervisor.onStopped((name, reason) => void this.#stopped(name, reason));
    hypervisor.onUp(() => void this.#compare());
  }

  /** A machine stopped: its guest's last words may say why. */
  async #stopped(machine: string, reason: string): Promise<void> {
    const job = this.jobs.byMachine(machine);
    if (!job) return;
    const console = await readFile(job.places.console, 'utf8').catch(() => '');
    const panic = /Kernel panic[^\n\r]*/.exec(console)?.[0];
    await job.dispatch({ type: 'machine-lost', reason: `its machine stopped (${panic ?? reason})` });
  }

  /** After a time without libvirt: what stopped meanwhile is lost. */
  async #compare(): Promise<void> {
    try {
      const names = new Set((await this.context.hypervisor.machines()).map(({ domain }) => domain.name));
      for (const job of this.jobs.all())
        if (job.resources.domain && !names.has(job.machine))
          await this.#stopped(job.machine, 'while libvirt was away');
    } catch (error) {
      this.log.warn(`could not compare machines with libvirt: ${messageOf(error)}`);
    }
  }

  /** What keeps this node from making machines, if anything. */
  async #probe(): Promise<string | undefined> {
    const { hypervisor, shape, config } = this.context;
    if (!hypervisor.isUp) return `libvirt does not answer at ${config.libvirt.socket}`;
    for (const file of [shape.kernel, shape.initrd, shape.root])
      if (!(await readable(file))) return `image ${config.vm.image} is incomplete: ${file} cannot be read`;
    return undefined;
  }

  async #answer(call: HookCall, client: HookClient, socket: HookSocket): Promise<void> {
    const job = this.jobs.all().find(({ places }) => places.stepSocket === socket.path);
    if (job) {
      if (call.verb === 'exec') return exec(job, call, client);
      if (call.verb === 'shell') return shell(job, call, client, job.identity);
      throw new CaddisError(`"${call.verb}" is not for a job's own socket`);
    }
    if (call.verb === 'shell') return shell(this.#jobNamed(call.args[0]), call, client, await identityOf(0));
    if (call.verb === 'status') {
      client.stdout(`${JSON.stringify(await status(this))}\n`);
      return client.exit(0);
    }
    const scheduler = this.schedulers.get(call.args[0] as SchedulerName);
    if (!scheduler)
      throw new CaddisError(
        `"${call.verb} ${call.args[0] ?? ''}": expected a scheduler that is enabled in caddis.toml`,
      );
    const signal = AbortSignal.any([client.signal, this.#stop.signal]);
    const answer = await this.#hook(call, scheduler, signal);
    if (answer.stderr) client.stderr(answer.stderr);
    client.exit(answer.exitCode);
  }

  #hook(call: HookCall, scheduler: Scheduler, signal: AbortSignal) {
    switch (call.verb) {
      case 'prolog':
        return prolog(this, scheduler, call, signal);
      case 'epilog':
        return epilog(this, scheduler, call);
      case 'facts':
        return facts(this, scheduler, call, signal);
      default:
        throw new CaddisError(`unknown verb "${call.verb}"`);
    }
  }

  #jobNamed(name: string | undefined): Job {
    const key = name === undefined ? undefined : parseKey(name);
    const job = key && this.jobs.current(key);
    if (!job)
      throw new CaddisError(
        `no machine for ${name ?? 'that job'} on this node; there are: ${
          this.jobs
            .all()
            .map((j) => formatKey(j.key))
            .join(', ') || 'none'
        }`,
      );
    return job;
  }
}

/** Set when the bundle is built. */
declare const CADDIS_VERSION: string | undefined;
const VERSION = typeof CADDIS_VERSION === 'string' ? CADDIS_VERSION : 'development';

function schedulerOptions(section: Config['slurm'] | Config['gridengine']) {
  return { binDir: section.bin_dir, spoolDir: section.spool_dir, environment: section.environment };
}

async function readable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}

async function account(name: string): Promise<{ uid: number; gid: number }> {
  if (name === userInfo().username) return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  try {
    const { stdout } = await execa('getent', ['passwd', name], { timeout: 10_000, stdin: 'ignore' });
    const [, , uid, gid] = stdout.split(':');
    return { uid: Number(uid), gid: Number(gid) };
  } catch (error) {
    throw new CaddisError(`vm.qemu_user "${name}" is no account of this node`, { cause: error });
  }
}
