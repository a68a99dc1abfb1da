import { hostname } from 'node:os';

import { isNodeUnfit, messageOf } from '../../model/errors.ts';
import { formatKey, type HookCall, type JobRequest } from '../../model/job.ts';
import type { HookAnswer, Scheduler } from '../../scheduler/scheduler.ts';
import { identityOf } from '../identity.ts';
import { Job } from '../job.ts';
import type { Node } from '../node.ts';
import { machinePlaces } from '../places.ts';
import { newMachineName, startMachine } from '../start-machine.ts';

/** Bound on what a refusal may take, Grid Engine's back-off included: the hook must not hold the node. */
const REFUSE_TIMEOUT_MS = 60_000;

/** Makes the job's machine, or puts the job back. Never throws for what a node can do wrong: the answer keeps the node in service. */
export async function prolog(
  node: Node,
  scheduler: Scheduler,
  call: HookCall,
  signal: AbortSignal,
): Promise<HookAnswer> {
  const request = scheduler.readProlog(call);
  if (runsNatively(node, request)) return { exitCode: 0 };
  if (request.devices !== undefined) return withDevices(node, scheduler, request);

  const trouble = await node.trouble(signal);
  if (trouble !== undefined) {
    signal.throwIfAborted();
    node.log.error(`no machine for ${formatKey(request.key)}: ${trouble}`);
    node.health.unfit(trouble);
    return noMachine(node, scheduler, request, trouble, signal);
  }

  const job = await register(node, scheduler, request);
  try {
    await startMachine(node.context, job, signal);
    job.facts.ready = true;
    await node.context.hypervisor.setFacts(job.resources.domain ?? missing(), job.facts);
    await job.dispatch({ type: 'machine-ready' });
    job.log.info(`machine ready in ${Object.values(job.startMs).reduce((a, b) => a + b, 0)} ms`, job.startMs);
    return { exitCode: 0 };
  } catch (error) {
    const reason = messageOf(error);
    // Nobody reads the answer: a hook that was killed had its job cancelled, one whose caddisd stops asks the next.
    if (signal.aborted) {
      job.log.info(`the start was given up: ${messageOf(signal.reason)}`);
      await job.dispatch({ type: 'start-failed', reason });
      throw error;
    }
    job.log.error(
      `no machine for this job: ${reason}`,
      isNodeUnfit(error) ? {} : { stack: (error as Error).stack },
    );
    await job.dispatch({ type: 'start-failed', reason });
    if (isNodeUnfit(error) && error.wholeNode) node.health.unfit(reason);
    return noMachine(node, scheduler, request, reason, signal);
  }
}

/** What the site chose for a job that gets no machine (policy.on_unavailable). What cannot go back to the queue fails with the reason. */
async function noMachine(
  node: Node,
  scheduler: Scheduler,
  request: JobRequest,
  reason: string,
  signal: AbortSignal,
): Promise<HookAnswer> {
  switch (node.config.policy.on_unavailable) {
    case 'native':
      return { exitCode: 0 };
    case 'fail':
      return scheduler.fail(request, reason);
    case 'requeue':
      return scheduler.refuse(
        request,
        reason,
        AbortSignal.any([signal, AbortSignal.timeout(REFUSE_TIMEOUT_MS)]),
      );
  }
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

async function register(node: Node, scheduler: Scheduler, request: JobRequest): Promise<Job> {
  const identity = await identityOf(request.uid);
  const machine = newMachineName();
  const job = new Job({
    facts: {
      version: 1,
      machine,
      key: request.key,
      incarnation: `${formatKey(request.key)}@${hostname()}/${request.restartCount}-${machine.slice(-4)}`,
      request: { ...request, user: identity.name, gid: identity.gid },
      image: node.imageId,
      acceleration: node.context.acceleration,
      startedAt: new Date().toISOString(),
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
