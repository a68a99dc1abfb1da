import { hostname } from 'node:os';

import { isNodeUnfit, messageOf } from '../../model/errors.ts';
import { identityOf } from '../../model/identity.ts';
import { formatKey, type HookCall, type JobRequest } from '../../model/job.ts';
import type { HookAnswer, Scheduler } from '../../scheduler/scheduler.ts';
import type { Daemon } from '../daemon.ts';
import { Job } from '../job.ts';
import { machinePlaces } from '../places.ts';
import { newMachineName, startMachine } from '../start-machine.ts';

/** Bound on what a refusal may take, Grid Engine's back-off included: the hook must not hold the node. */
const REFUSE_TIMEOUT_MS = 60_000;

/** Makes the job's machine, or puts the job back. Never throws for what a node can do wrong: the answer keeps the node in service. */
export async function prolog(
  daemon: Daemon,
  scheduler: Scheduler,
  call: HookCall,
  signal: AbortSignal,
): Promise<HookAnswer> {
  const request = scheduler.readProlog(call);
  if (runsNatively(daemon, request)) return { exitCode: 0 };

  const trouble = await daemon.trouble(signal);
  if (trouble !== undefined) {
    signal.throwIfAborted();
    daemon.log.error(`no machine for ${formatKey(request.key)}: ${trouble}`);
    daemon.health.unfit(trouble);
    return noMachine(daemon, scheduler, request, trouble, signal);
  }

  const job = await register(daemon, scheduler, request);
  try {
    await startMachine(daemon.context, job, signal);
    job.facts.ready = true;
    await daemon.context.hypervisor.setFacts(job.resources.domain ?? missing(), job.facts);
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
    if (isNodeUnfit(error) && error.wholeNode) daemon.health.unfit(reason);
    return noMachine(daemon, scheduler, request, reason, signal);
  }
}

/** What the site chose for a job that gets no machine (policy.on_unavailable). What cannot go back to the queue fails with the reason. */
export async function noMachine(
  daemon: Daemon,
  scheduler: Scheduler,
  request: JobRequest,
  reason: string,
  signal: AbortSignal,
): Promise<HookAnswer> {
  switch (daemon.config.policy.on_unavailable) {
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
export function runsNatively({ config }: Daemon, request: JobRequest): boolean {
  if (config.policy.native.includes(request.queue)) return true;
  return request.vm === 'off' && config.policy.allow_off.includes(request.queue);
}

async function register(daemon: Daemon, scheduler: Scheduler, request: JobRequest): Promise<Job> {
  const identity = await identityOf(request.uid);
  const machine = newMachineName();
  const job = new Job({
    facts: {
      version: 1,
      machine,
      key: request.key,
      incarnation: `${formatKey(request.key)}@${hostname()}/${request.restartCount}-${machine.slice(-4)}`,
      request: { ...request, user: identity.name, gid: identity.gid },
      image: daemon.imageId,
      acceleration: daemon.context.acceleration,
      startedAt: new Date().toISOString(),
      ready: false,
    },
    scheduler,
    places: machinePlaces(daemon.context.config.run_dir, machine),
    log: daemon.log,
    identity,
    execute: (job, step) => daemon.execute(job, step),
  });
  daemon.jobs.add(job);
  return job;
}

function missing(): never {
  throw new Error('a started machine has no domain');
}
