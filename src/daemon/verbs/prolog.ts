import { hostname } from 'node:os';
import { dirname } from 'node:path';

import { isStoreUnavailable } from '../../checkpoint/errors.ts';
import type { Generation } from '../../checkpoint/generation.ts';
import { isNodeUnfit, messageOf } from '../../model/errors.ts';
import { formatKey, type HookCall, type JobRequest } from '../../model/job.ts';
import type { HookAnswer, Scheduler } from '../../scheduler/scheduler.ts';
import { isNotEnoughMemory } from '../../vm/capacity.ts';
import { lookAtHostCpu } from '../accounting/tally.ts';
import { identityOf } from '../identity.ts';
import { Job, type JobResources } from '../job.ts';
import { unbind } from '../moving/binding.ts';
import type { Checkpoints } from '../moving/checkpoints.ts';
import { giveUpKept } from '../moving/kept-output.ts';
import { savePeriodically } from '../moving/periodic.ts';
import { factsOf } from '../moving/restore-machine.ts';
import { AsksTooLittle, goOn, isRefusedCheckpoint, newestCheckpoint } from '../moving/resume-job.ts';
import { bridgeTimeLimit } from '../moving/time-limit.ts';
import { whyAfresh } from '../moving/why-not-saved.ts';
import type { Node } from '../node.ts';
import { machinePlaces } from '../places.ts';
import { grantSlack, isBorrower, isNotCovered, isScavengeQueue } from '../pressure/lending.ts';
import { newMachineName, startMachine } from '../start-machine.ts';

/** Bound on what a refusal may take, Grid Engine's back-off included: the hook must not hold the node. */
const REFUSE_TIMEOUT_MS = 60_000;

/** How long a prolog waits for another node to finish its save. Grid Engine kills a prolog after 120 s (script_timeout). */
const FREE_WAIT_MS = 60_000;

/** Makes the job's machine, or puts the job back. Never throws for what a node can do wrong: the answer keeps the node in service. */
export async function prolog(
  node: Node,
  scheduler: Scheduler,
  call: HookCall,
  signal: AbortSignal,
): Promise<HookAnswer> {
  return start(node, scheduler, scheduler.readProlog(call), signal);
}

/** The same for a request that is known. */
export async function start(
  node: Node,
  scheduler: Scheduler,
  request: JobRequest,
  signal: AbortSignal,
): Promise<HookAnswer> {
  if (runsNatively(node, request)) return { exitCode: 0 };
  if (request.devices !== undefined) return withDevices(node, scheduler, request);

  const trouble = await node.trouble(signal);
  if (trouble !== undefined) {
    signal.throwIfAborted();
    node.log.error(`no machine for ${formatKey(request.key)}: ${trouble}`);
    node.health.unfit(trouble);
    return noMachine(node, scheduler, request, trouble, signal);
  }

  if (isMadeAlready(node, request)) return { exitCode: 0 };
  return begin(node, scheduler, request, signal);
}

/** A caddisd that was killed just before it answered has made this start's machine, and the hook asks again. No step has begun in it. */
function isMadeAlready(node: Node, { key, restartCount }: JobRequest): boolean {
  const job = node.jobs.current(key);
  if (!job?.isAdopted || job.state.phase !== 'ready') return false;
  return job.facts.request.restartCount === restartCount;
}

/** Makes the machine, or restores it from the newest checkpoint that holds. */
async function begin(
  node: Node,
  scheduler: Scheduler,
  request: JobRequest,
  signal: AbortSignal,
): Promise<HookAnswer> {
  // A job on several hosts has a machine on each, which are never saved: there is no one who holds it.
  const checkpoints = request.hosts === 1 ? node.context.checkpoints : undefined;
  const refused = new Set<number>();
  noteItLeft(node, request);
  for (;;) {
    let job: Job | undefined;
    let generation: Generation | undefined;
    const say = (text: string) => node.log.warn(`${formatKey(request.key)}: ${text}`);
    try {
      await checkpoints?.custody.untilFree(request.key, FREE_WAIT_MS, signal);
      generation = checkpoints && (await newestCheckpoint(checkpoints, request, refused, say));
      const parked = node.jobs.ofKey(request.key).find(({ state }) => state.phase === 'parked');
      job = await register(node, scheduler, request, generation);
      const here = parked && (await takeParked(parked, generation));
      if (here) Object.assign(job.resources, { domain: here.domain, scratch: here.scratch });
      if (isBorrower(node, job))
        await grantSlack(node, job, generation?.manifest.sizes.memoryBytes ?? 0, signal);
      const elsewhere = await checkpoints?.custody.take(job);
      if (checkpoints && generation)
        await goOn(node.context, checkpoints, job, generation, { here, elsewhere }, signal);
      else {
        if (checkpoints && request.restartCount > 0) await giveUpKept(job, checkpoints);
        await startMachine(node.context, job, signal);
        await lookAtHostCpu(job);
        job.facts.bootCpuMs = job.hostCpu.nowMs;
      }
      job.facts.ready = true;
      delete job.facts.waking;
      await node.context.hypervisor.setFacts(job.resources.domain ?? missing(), job.facts);
      await job.dispatch({ type: 'machine-ready' });
      savePeriodically(node, job);
      if (generation) await tellOthers(checkpoints, job);
      bridgeTimeLimit(node, job);
      job.log.info(
        `machine ready in ${Object.values(job.startMs).reduce((a, b) => a + b, 0)} ms`,
        job.startMs,
      );
      const news = whyAfresh(node, request);
      return { exitCode: 0, ...(news === undefined ? {} : { stderr: `${news}\n` }) };
    } catch (error) {
      const reason = messageOf(error);
      await job?.dispatch({ type: 'start-failed', reason, keepAddress: generation !== undefined });
      // Nobody reads the answer: a hook that was killed had its job cancelled, one whose caddisd stops asks the next.
      if (signal.aborted) {
        say(`the start was given up: ${messageOf(signal.reason)}`);
        throw error;
      }
      if (isNotCovered(error)) {
        say(`sent back to the queue: ${reason}`);
        return sendBack(node, scheduler, request, reason, signal);
      }
      if (isNotEnoughMemory(error) && (await endParked(node))) {
        say(`${reason}: parked machines give way`);
        continue;
      }
      if (generation && isRefusedCheckpoint(error, say)) {
        refused.add(generation.number);
        continue;
      }
      if (error instanceof AsksTooLittle) {
        say(reason);
        return scheduler.hold(
          request,
          reason,
          AbortSignal.any([signal, AbortSignal.timeout(REFUSE_TIMEOUT_MS)]),
        );
      }
      (job?.log ?? node.log).error(
        `no machine for this job: ${reason}`,
        isNodeUnfit(error) || isStoreUnavailable(error) ? {} : { stack: (error as Error).stack },
      );
      if (isStoreUnavailable(error) || (isNodeUnfit(error) && error.wholeNode)) node.health.unfit(reason);
      return noMachine(node, scheduler, request, reason, signal);
    }
  }
}

/** A start on the very host that still saves the last run: that one's epilog is over, even if it came while no caddisd heard it. */
function noteItLeft(node: Node, { key }: JobRequest): void {
  for (const job of node.jobs.ofKey(key))
    if (job.state.phase === 'saving' || job.state.phase === 'saved')
      job
        .dispatch({ type: 'epilog', requeued: true })
        .catch((error: unknown) => job.log.error(messageOf(error)));
}

/** What a parked machine of this checkpoint holds, if it is still there; one of another checkpoint is ended. */
async function takeParked(
  parked: Job,
  generation: Generation | undefined,
): Promise<JobResources | undefined> {
  const fits = parked.state.phase === 'parked' && parked.savedAs === generation?.number;
  await parked.dispatch({ type: fits ? 'taken-over' : 'park-over' });
  return fits ? parked.resources : undefined;
}

/** Parked machines are in the store; true if there were any. */
async function endParked(node: Node): Promise<boolean> {
  const parked = node.jobs.all().filter(({ state }) => state.phase === 'parked');
  await Promise.all(parked.map((job) => job.dispatch({ type: 'park-over' })));
  return parked.length > 0;
}

/** Nobody depends on it but those who watch. */
async function tellOthers(checkpoints: Checkpoints | undefined, job: Job): Promise<void> {
  await checkpoints?.custody
    .goesOn(job)
    .catch((error: unknown) =>
      job.log.warn(`not noted in the store that the job goes on: ${messageOf(error)}`),
    );
  void unbind(job);
}

/** What the site chose for a job that gets no machine (policy.on_unavailable). What cannot go back to the queue fails with the reason. */
async function noMachine(
  node: Node,
  scheduler: Scheduler,
  request: JobRequest,
  reason: string,
  signal: AbortSignal,
): Promise<HookAnswer> {
  // Memory that is lent is a machine's alone: outside of one nothing would hold the job to it.
  if (isScavengeQueue(node.config, request.queue)) return sendBack(node, scheduler, request, reason, signal);
  switch (node.config.policy.on_unavailable) {
    case 'native':
      return { exitCode: 0 };
    case 'fail':
      return scheduler.fail(request, reason);
    case 'requeue':
      noteSentBack(node, request, reason);
      return scheduler.refuse(
        request,
        reason,
        AbortSignal.any([signal, AbortSignal.timeout(REFUSE_TIMEOUT_MS)]),
      );
  }
}

/** A job whose slack is gone waits for the next, wherever that is. */
function sendBack(
  node: Node,
  scheduler: Scheduler,
  request: JobRequest,
  reason: string,
  signal: AbortSignal,
): Promise<HookAnswer> {
  noteSentBack(node, request, reason);
  const bound = AbortSignal.any([signal, AbortSignal.timeout(REFUSE_TIMEOUT_MS)]);
  return scheduler.sendBack(request, reason, bound);
}

/** For `caddis explain`. */
function noteSentBack({ deeds }: Node, { key }: JobRequest, why: string): void {
  deeds.note({ job: formatKey(key), what: 'sent back', why, numbers: {} });
}

/** Partitions that have no machines, and users who said --vm=off where they may. */
function runsNatively({ config }: Node, request: JobRequest): boolean {
  if (config.policy.native.includes(request.queue)) return true;
  return request.vm === 'off' && config.policy.allow_off.includes(request.queue);
}

/** No device of the host is in a machine yet: never started to fail oddly. */
async function withDevices(node: Node, scheduler: Scheduler, request: JobRequest): Promise<HookAnswer> {
  const what = `${formatKey(request.key)} has ${request.devices}, and a virtual machine has none of the node's devices`;
  if (node.config.policy.devices === 'native') {
    node.log.info(`${what}: it runs without one (policy.devices)`);
    return { exitCode: 0 };
  }
  node.log.warn(`${what}: it fails (policy.devices)`);
  return scheduler.fail(
    request,
    `this job has ${request.devices}, and its virtual machine cannot have them: use a partition or queue whose jobs run without one`,
  );
}

/** A job that goes on has its machine's name and what was known of it; its request may have changed meanwhile. */
async function register(
  node: Node,
  scheduler: Scheduler,
  request: JobRequest,
  generation: Generation | undefined,
): Promise<Job> {
  const identity = await identityOf(request.uid);
  const saved = generation && factsOf(generation);
  const machine = saved?.machine ?? newMachineName();
  const job = new Job({
    facts: {
      version: 1,
      machine,
      key: request.key,
      incarnation: `${formatKey(request.key)}@${hostname()}/${request.restartCount}-${machine.slice(-4)}`,
      request: {
        ...request,
        user: identity.name,
        gid: identity.gid,
        scratchBytes: saved?.request.scratchBytes ?? request.scratchBytes,
        // Slurm's prolog is not told it, and a job that goes on is not asked about.
        jobName: request.jobName || (saved?.request.jobName ?? ''),
      },
      image: saved?.image ?? node.imageId,
      imageDirectory: dirname(node.context.shape.root),
      runDir: node.config.run_dir,
      acceleration: node.context.acceleration,
      ...(saved?.bound ? { bound: saved.bound } : {}),
      ...(saved?.growth ? { growth: saved.growth } : {}),
      startedAt: new Date().toISOString(),
      ranBeforeMs: generation?.manifest.totals.ranMs,
      used: saved?.used,
      bootCpuMs: saved?.bootCpuMs,
      usedBefore: saved?.used,
      ready: false,
    },
    scheduler,
    places: machinePlaces(node.context.config.run_dir, machine),
    log: node.log,
    identity,
    execute: (job, step) => node.execute(job, step),
  });
  node.jobs.add(job);
  return job;
}

function missing(): never {
  throw new Error('a started machine has no domain');
}
